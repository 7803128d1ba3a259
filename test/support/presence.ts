// Presence keys as others see them. In come a toy bridge, whose side is played here (the reference bridge keeps the keys itself), and desktops:
// clients whose URL names a session. Out comes what somebody saw who looks at their keys every 50 ms. Promises that a look counts only
// where the desktop was connected: one that was closed hears of it late.

import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { jwtSecret, type ToyBridge } from './bridge.ts';
import type { Redis } from './redis.ts';
import { connect, HttpTransportType, type HubClient, makeToken } from './signalr.ts';
import { until } from './wait.ts';

type Keys = ReturnType<Redis['client']>;

const ttlSeconds = 660;
const lookEveryMs = 50;
const reconnectMs = Array.from({ length: 1_000 }, () => 50);

const desktopKey = (session: string) => `presence:desktop:${session}`;
const userKey = (user: string) => `presence:user:${user}`;

/** As the legacy bridge does: set with a connection that names a session, removed with its user's last connection. */
export function keepPresence(bridge: ToyBridge, keys: Keys): void {
  const counts = new Map<string, number>();
  bridge.onPresence = ({ user, session }, isThere) => {
    const count = (counts.get(user) ?? 0) + (isThere ? 1 : -1);
    counts.set(user, count);
    if (isThere && session !== undefined) {
      const setting = keys.multi().set(desktopKey(session), user, 'EX', ttlSeconds);
      setting
        .sadd(userKey(user), session)
        .expire(userKey(user), ttlSeconds)
        .exec()
        .catch(() => {});
    }
    if (count > 0) return;
    const remove = async () => {
      const sessions = await keys.smembers(userKey(user));
      await keys.del(userKey(user), ...sessions.map(desktopKey));
    };
    remove().catch(() => {});
  };
}

/** A client at its desktop, that comes back by itself. */
export class Desktop {
  readonly user: string;
  readonly session: string;
  readonly client: HubClient;
  /** How often it has come back. */
  returns = 0;
  #isConnected = true;

  private constructor(user: string, session: string, client: HubClient) {
    this.user = user;
    this.session = session;
    this.client = client;
    client.connection.onreconnecting(() => {
      this.#isConnected = false;
    });
    client.connection.onreconnected(() => {
      this.#isConnected = true;
      this.returns++;
    });
  }

  static async start(
    t: TestContext,
    edge: string,
    user: string,
    session: string,
    transport = HttpTransportType.WebSockets,
  ): Promise<Desktop> {
    const token = await makeToken({ sub: user }, jwtSecret);
    const url = `${edge}/hubs/remote-access?sessionId=${session}`;
    const desktop = new Desktop(user, session, await connect(t, url, token, { transport, reconnectMs }));
    // Its completion proves that the hub's connect has ended.
    await desktop.#ask();
    return desktop;
  }

  /** @returns which of its connections it has; undefined where it knows that it has none */
  get connection(): number | undefined {
    return this.#isConnected ? this.returns : undefined;
  }

  /** Asks its hub. @returns whether the hub has answered by this connection, so that it cannot have ended before */
  async has(connection: number): Promise<boolean> {
    if (this.connection !== connection) return false;
    const isAnswered = await this.#ask().then(
      () => true,
      () => false,
    );
    return isAnswered && this.connection === connection;
  }

  /** Without an id it does nothing. */
  #ask(): Promise<void> {
    return this.client.connection.invoke('LeaveSession', '');
  }
}

/** Looks at the keys of desktops, and is told by Redis who removes them. */
export class PresenceReader {
  readonly #keys: Keys;
  readonly #desktops: Desktop[];
  readonly #running: Promise<unknown>;
  #isLooking = true;
  /** At one desktop. */
  lookCount = 0;
  /** ms for which a connected desktop's keys were missing, and then there again by the next look. */
  readonly gaps: number[] = [];
  /** Keys that were wrong in two looks in a row, although in between the hub has answered their desktop. */
  readonly faults: string[] = [];
  /** Keys that somebody has removed, a reader or no reader. Source: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/ */
  readonly removed: string[] = [];

  /** @param desktops connected, with their keys written; those whose keys are gone between two looks are told, too */
  static async start(redis: Pick<Redis, 'client'>, desktops: Desktop[]): Promise<PresenceReader> {
    const [keys, events] = [redis.client(), redis.client()];
    const reader = new PresenceReader(keys, desktops);
    await keys.config('SET', 'notify-keyspace-events', 'Eg');
    events.on('message', (_, key) => void (key.startsWith('presence:') && reader.removed.push(key)));
    await events.subscribe('__keyevent@0__:del');
    return reader;
  }

  private constructor(keys: Keys, desktops: Desktop[]) {
    this.#keys = keys;
    this.#desktops = desktops;
    this.#running = Promise.all(desktops.map((desktop) => this.#watch(desktop)));
  }

  async end(): Promise<void> {
    this.#isLooking = false;
    await this.#running;
  }

  /** Who all have gone. */
  async untilGone(): Promise<void> {
    const all = this.#desktops.flatMap(({ user, session }) => [desktopKey(session), userKey(user)]);
    await until(async () => (await this.#keys.exists(...all)) === 0, { timeoutMs: 15_000, what: 'the keys to go' });
  }

  async #watch(desktop: Desktop): Promise<void> {
    while (this.#isLooking) {
      const { connection } = desktop;
      const next = sleep(lookEveryMs);
      if (connection !== undefined && !(await this.#isRight(desktop))) await this.#lookAgain(desktop, connection, next);
      await next;
    }
  }

  /** The holder has been told before it answers its desktop: what is missing behind that answer is not on its way back. */
  async #lookAgain(desktop: Desktop, connection: number, next: Promise<void>): Promise<void> {
    const missedAt = performance.now();
    let isDue = false;
    const isThere = Promise.all([desktop.has(connection), next]).then(([has]) => {
      isDue = true;
      return has;
    });
    while (!isDue && !(await this.#isRight(desktop)));
    const ms = performance.now() - missedAt;
    if (!(await isThere)) return;
    if (await this.#isRight(desktop)) this.gaps.push(ms);
    else if (await desktop.has(connection)) this.faults.push(await this.#describe(desktop));
  }

  async #isRight(desktop: Desktop): Promise<boolean> {
    this.lookCount++;
    const { owner, sessions } = await this.#look(desktop);
    return owner === desktop.user && sessions.includes(desktop.session);
  }

  async #look({ user, session }: Desktop): Promise<{ owner: string | null; sessions: string[] }> {
    const [owner, sessions] = await Promise.all([
      this.#keys.get(desktopKey(session)),
      this.#keys.smembers(userKey(user)),
    ]);
    return { owner, sessions };
  }

  async #describe(desktop: Desktop): Promise<string> {
    const { owner, sessions } = await this.#look(desktop);
    const at = (performance.now() / 1000).toFixed(3);
    return `${desktop.session} of ${desktop.user}, back ${desktop.returns} times, at ${at}: ${owner}, [${sessions}]`;
  }
}
