// The other replicas, by HTTP: what must be said without the log. In come a path and a value, out go the replicas that
// have taken it, what they answer, and those that could not be reached; and to a tag the replica that it stands for.
// Promises: their addresses come from the log, where others may write too, so whoever listens there learns no secret; an answer is
// short JSON, whose shape the asker checks.

import type { LiveReplica, Roster } from '../log/log.ts';
import { shortTag } from '../short-key.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Peer } from './peer-connection.ts';
import { addresseeHeader, type PeerSignature, signatureHeader } from './peer-signature.ts';

export interface PeersOptions {
  instance: string;
  roster: Pick<Roster, 'replicas'>;
  signature: PeerSignature;
  clock: Clock;
  logger: Logger;
}

export interface Told {
  reached: string[];
  notReached: string[];
}

/** What replicas say to each other is POSTed there. */
export const peerPaths = {
  /** A rollback without the log. */
  adopt: '/cutover/adopt',
  /** The log fails, or answers again, see outage.ts. */
  outage: '/cutover/outage',
  /** Whether an event was read, as `{"read":true}`. */
  uncertain: '/cutover/uncertain',
  /** What becomes of the log's copy of that event. */
  uncertainDecided: '/cutover/uncertain-decided',
  /** Whether the log is read, as `{"reads":true}`. */
  reading: '/cutover/reading',
  /** What it says of itself, see own-view.ts. */
  look: '/cutover/look',
  /** What would move there, see forecast.ts. */
  forecast: '/cutover/forecast',
  /** Which of the others it reaches, as `{"notReached":[]}`. */
  reach: '/cutover/reach',
  /** Whose native connection this is, as `{"user":"u1"}`. */
  connection: '/edge/connection/user',
} as const;

/** The fact of the roster that holds a replica's admin address. */
export const adminFact = 'admin';
/** ... and the one that holds the epoch of its state. */
export const epochFact = 'epoch';
/** ... and the one of a release that knows tagged tokens, see edge/relay/. */
export const relaysFact = 'relays';
const refreshMs = 2_000;
/** ... and ms between two readings that a tag of nobody causes. */
const lookAgainMs = 500;
/** ms that the roster is waited for; a log that hangs is not to hold up who asks. */
const rosterMs = 300;
const sayEveryMs = 5_000;
/** A replica mostly answers in a few bytes; a connection over which more comes is not used again. */
const maxAnswerBytes = 1_024;
/** ... and in this many where it was asked for what it has. */
const maxLongAnswerBytes = 2 * 1024 * 1024;

export class Peers {
  readonly #options: PeersOptions;
  readonly #stop: () => void;
  /** As the roster last had them, this one first. */
  #known: LiveReplica[];
  #readAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<unknown> | undefined;
  readonly #says: LogThrottle;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#known = [{ instance: options.instance, facts: {}, counters: new Map() }];
    this.#says = new LogThrottle(options.clock, sayEveryMs);
    this.#stop = options.clock.every(refreshMs, () => this.refresh());
  }

  /**
   * Reads the roster again.
   * @returns every live replica, this one first; without the log those that were known last, as far as it still holds
   */
  async refresh(): Promise<LiveReplica[]> {
    const { roster, clock } = this.#options;
    this.#readAt = clock.monotonic();
    const reading = roster.replicas().then(
      (replicas) => {
        this.#known = replicas;
        return true;
      },
      () => false,
    );
    const isRead = await Promise.race([reading, pause(clock, rosterMs)]);
    return isRead === true ? this.#known : this.#known.map(withoutEpoch);
  }

  /** What stands for this replica in front of a token. */
  get tag(): string {
    return shortTag(this.#options.instance);
  }

  /** Whether all live replicas know what a tag is, and this one can be reached: not before the roster was read with its own address in it. */
  get allRelay(): boolean {
    const isReachable = this.#adminOf(this.#options.instance) !== undefined;
    return isReachable && this.#known.every(({ facts }) => facts[relaysFact] !== undefined);
  }

  /** @returns another live replica, as the roster has it; one that has come a moment ago is looked for */
  async find(tag: string): Promise<Peer | undefined> {
    const known = () => this.#reachable.find(({ instance }) => shortTag(instance) === tag);
    if (known() === undefined) await this.#lookAgain();
    return known();
  }

  /** POSTs to every other replica at once. Never rejects. @param ms how long one may take @param instances only these; all without it */
  async tell(path: string, value: unknown, ms: number, instances = this.others): Promise<Told> {
    const posts = await this.#postToAll(path, value, ms, instances);
    const named = (ok: boolean) => posts.filter(({ answer }) => (answer !== undefined) === ok);
    return {
      reached: named(true).map(({ instance }) => instance),
      notReached: named(false).map(({ instance }) => instance),
    };
  }

  /** As {@link tell}. @returns what those that were reached have answered: JSON of any shape */
  async ask(path: string, value: unknown, ms: number): Promise<{ answers: unknown[]; notReached: string[] }> {
    const posts = await this.#postToAll(path, value, ms, this.others);
    return {
      answers: posts.flatMap(({ answer }) => (answer === undefined ? [] : [answer.value])),
      notReached: posts.flatMap(({ instance, answer }) => (answer === undefined ? [instance] : [])),
    };
  }

  /** As {@link tell}. @returns replica -> its answer, which may be long; those that were not reached are not in it */
  async askEach(path: string, value: unknown, ms: number): Promise<Map<string, unknown>> {
    const posts = await this.#postToAll(path, value, ms, this.others, maxLongAnswerBytes);
    return new Map(
      posts.flatMap(({ instance, answer }) => (answer === undefined ? [] : [[instance, answer.value] as const])),
    );
  }

  #postToAll(path: string, value: unknown, ms: number, instances: string[], maxBytes = maxAnswerBytes) {
    const body = JSON.stringify(value);
    return Promise.all(
      instances.map(async (instance) => {
        const admin = this.#adminOf(instance);
        const url = admin !== undefined && urlOf(admin, path);
        const signal = AbortSignal.timeout(ms);
        const post = { body, signal, maxBytes };
        return { instance, answer: url instanceof URL ? await this.#post(instance, url, post) : undefined };
      }),
    );
  }

  close(): void {
    this.#stop();
  }

  /** The names of the other replicas, as the roster last had them. */
  get others(): string[] {
    return this.#known.map(({ instance }) => instance).filter((each) => each !== this.#options.instance);
  }

  /** The others that say where they are. */
  get #reachable(): Peer[] {
    const peers = this.others.map((instance) => ({ instance, admin: this.#adminOf(instance) ?? '' }));
    return peers.filter(({ admin }) => urlOf(admin, '')?.protocol === 'http:');
  }

  /** Whoever asks meanwhile waits for the same reading. */
  async #lookAgain(): Promise<void> {
    const { clock } = this.#options;
    const waitMs = this.#readAt + lookAgainMs - clock.monotonic();
    this.#looking ??= (waitMs > 0 ? pause(clock, waitMs) : Promise.resolve())
      .then(() => this.refresh())
      .finally(() => {
        this.#looking = undefined;
      });
    await this.#looking;
  }

  #adminOf(name: string): string | undefined {
    return this.#known.find(({ instance }) => instance === name)?.facts[adminFact];
  }

  /** What is said must do no harm if it arrives twice: a kept connection may be closed just when it is used. */
  async #post(
    instance: string,
    url: URL,
    post: { body: string; signal: AbortSignal; maxBytes: number },
    isAgain = false,
  ): Promise<{ value: unknown } | undefined> {
    const { signature, logger } = this.#options;
    const { body, signal, maxBytes } = post;
    try {
      const signed = signature.sign(url.pathname, instance, body);
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          [addresseeHeader]: encodeURIComponent(instance),
          ...(signed !== undefined && { [signatureHeader]: signed }),
        },
        body,
        signal,
        redirect: 'error',
      });
      const value = await readAnswerUpTo(maxBytes, answer);
      if (answer.ok) return { value };
      if (this.#says.isDue()) logger.warn({ instance, status: answer.status }, 'a replica did not hear');
      return undefined;
    } catch (error) {
      if (!isAgain && !signal.aborted) return this.#post(instance, url, post, true);
      const { message, cause } = error as Error;
      const reason = cause instanceof Error ? `${message}: ${cause.message}` : message;
      if (this.#says.isDue()) logger.warn({ instance, reason }, 'a replica could not be told');
      return undefined;
    }
  }
}

/** undefined where it is no address of a replica. */
function urlOf(admin: string, path: string): URL | undefined {
  if (!/^https?:\/\/[^/?#@]+\/?$/i.test(admin) || !URL.canParse(admin)) return undefined;
  return new URL(path, admin);
}

/** Reads a short answer, so that the connection can be used again, and none that is too long. @returns undefined where it is no JSON */
async function readAnswerUpTo(maxBytes: number, answer: Response): Promise<unknown> {
  const isShort = Number(answer.headers.get('content-length') ?? Number.POSITIVE_INFINITY) <= maxBytes;
  if (!isShort) return void (await answer.body?.cancel());
  const text = await answer.text();
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What an epoch was, it need not be any more. */
function withoutEpoch(replica: LiveReplica): LiveReplica {
  const { [epochFact]: _, ...facts } = replica.facts;
  return { ...replica, facts };
}
