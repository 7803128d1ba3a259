// The other replicas, by HTTP: what must be said without the log. In come a path and a value, out go the replicas that
// have taken it and those that could not be reached. Promises: their addresses come from the log, where others may write too,
// so whoever listens there learns no secret, and nothing of the answer counts but its status.

import type { Replica, Roster } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Seldom } from '../telemetry/seldom.ts';
import { type PeerSignature, signatureHeader } from './peer-signature.ts';

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

/** The fact of the roster that holds a replica's admin address. */
export const adminFact = 'admin';
/** ... and the one that holds the epoch of its state. */
export const epochFact = 'epoch';
/** Whom a word is for: an address on loopback means another replica on every host. */
export const addresseeHeader = 'x-crossfade-instance';
const refreshMs = 2_000;
/** ms that the roster is waited for; a log that hangs is not to hold up who asks. */
const rosterMs = 300;
const sayEveryMs = 5_000;
/** A replica answers in a few bytes; a connection over which more comes is not used again. */
const maxAnswerBytes = 1_024;

export class Peers {
  readonly #options: PeersOptions;
  readonly #stop: () => void;
  /** As the roster last had them, this one first. */
  #known: Replica[];
  readonly #says: Seldom;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#known = [{ instance: options.instance, facts: {}, counters: new Map() }];
    this.#says = new Seldom(options.clock, sayEveryMs);
    this.#stop = options.clock.every(refreshMs, () => this.refresh());
  }

  /**
   * Reads the roster again.
   * @returns every live replica, this one first; without the log those that were known last, as far as it still holds
   */
  async refresh(): Promise<Replica[]> {
    const { roster, clock } = this.#options;
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

  /**
   * POSTs to every other replica at once.
   * @param ms how long one may take
   * @param instances only these; all without it
   * @param says whether one that is not reached is worth a line in the log
   */
  async tell(path: string, value: unknown, ms: number, instances = this.#others, says = true): Promise<Told> {
    const body = JSON.stringify(value);
    const answers = await Promise.all(
      instances.map(async (instance) => {
        const admin = this.#known.find((each) => each.instance === instance)?.facts[adminFact];
        const url = admin !== undefined && urlOf(admin, path);
        const signal = AbortSignal.timeout(ms);
        return { instance, ok: url instanceof URL && (await this.#post(instance, url, body, signal, says)) };
      }),
    );
    const named = (ok: boolean) => answers.filter((answer) => answer.ok === ok).map(({ instance }) => instance);
    return { reached: named(true), notReached: named(false) };
  }

  /** @returns the other replicas that say yes to what is asked at this path */
  async ask(path: string, ms: number): Promise<string[]> {
    // Neither a no nor silence is worth a line: it is asked again and again.
    return (await this.tell(path, {}, ms, this.#others, false)).reached;
  }

  close(): void {
    this.#stop();
  }

  get #others(): string[] {
    return this.#known.map(({ instance }) => instance).filter((each) => each !== this.#options.instance);
  }

  /** What is said must do no harm if it arrives twice: a kept connection may be closed just when it is used. */
  async #post(
    instance: string,
    url: URL,
    body: string,
    signal: AbortSignal,
    says: boolean,
    isAgain = false,
  ): Promise<boolean> {
    const { signature, logger } = this.#options;
    const signed = signature.sign(url.pathname, instance, body);
    try {
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
      await pass(answer);
      if (!answer.ok && says && this.#says.isDue())
        logger.warn({ instance, status: answer.status }, 'a replica did not hear');
      return answer.ok;
    } catch (error) {
      if (!isAgain && !signal.aborted) return this.#post(instance, url, body, signal, says, true);
      const { message, cause } = error as Error;
      const reason = cause instanceof Error ? `${message}: ${cause.message}` : message;
      if (says && this.#says.isDue()) logger.warn({ instance, reason }, 'a replica could not be told');
      return false;
    }
  }
}

/** undefined where it is no address of a replica. */
function urlOf(admin: string, path: string): URL | undefined {
  if (!/^https?:\/\/[^/?#@]+\/?$/i.test(admin) || !URL.canParse(admin)) return undefined;
  return new URL(path, admin);
}

/** Reads a short answer, so that the connection can be used again, and no long one. */
async function pass(answer: Response): Promise<void> {
  const isShort = Number(answer.headers.get('content-length') ?? Number.POSITIVE_INFINITY) <= maxAnswerBytes;
  await (isShort ? answer.arrayBuffer() : answer.body?.cancel());
}

/** What an epoch was, it need not be any more. */
function withoutEpoch(replica: Replica): Replica {
  const { [epochFact]: _, ...facts } = replica.facts;
  return { ...replica, facts };
}
