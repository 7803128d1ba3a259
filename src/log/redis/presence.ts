// Presence keys in Redis, as other programs read them: `presence:desktop:{session}` = user, and the set `presence:user:{user}` of the
// user's sessions. In come the sessions that this replica's connections hold; out go the keys, renewed while they are held, written again
// where a bridge removes them, and ended when no live replica counts a connection of the user.

import type { Redis } from 'ioredis';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import { type LogOptions, presenceTtlMs } from '../log.ts';
import { isReady, runAll, withoutArguments } from './connections.ts';
import { PresenceWatch } from './presence-watch.ts';
import { keys, run } from './scripts.ts';

const renewEveryMs = presenceTtlMs / 3;
const sayEveryMs = 5_000;

export class Presence {
  readonly #redis: Redis;
  readonly #logger: LogOptions['logger'];
  readonly #saysFailure: LogThrottle;
  /** Sessions held by this replica's connections, by user. */
  readonly #held = new Map<string, Set<string>>();
  /** Session -> the user whose it is. */
  readonly #owners = new Map<string, string>();
  /** Users to release as soon as Redis answers again, with their counters. */
  readonly #releases = new Map<string, string>();
  readonly #stopRenewing: () => void;
  readonly #onReady = () => this.#renew('presence could not be written again');
  #releasing: Promise<void> | undefined;
  /** The name is given back, or another process has it: whom it counts now is its own. */
  #isStopped = false;
  #watch: PresenceWatch | undefined;

  constructor(redis: Redis, { clock, logger }: LogOptions) {
    this.#redis = redis;
    this.#logger = logger;
    this.#saysFailure = new LogThrottle(clock, sayEveryMs);
    this.#stopRenewing = clock.every(renewEveryMs, () => this.#renew('presence could not be renewed'));
    redis.on('ready', this.#onReady);
  }

  hold(user: string, session: string): void {
    if (this.#isStopped) return;
    this.#releases.delete(user);
    const sessions = this.#held.get(user) ?? new Set();
    this.#held.set(user, sessions.add(session));
    this.#owners.set(session, user);
    this.#write(user, [session]).catch((error) => this.#sayFailed('presence could not be written', error));
  }

  /** See {@link Roster.keepPresence}. */
  keep(keeps: boolean): void {
    this.#watch?.stop();
    this.#watch = undefined;
    if (!keeps) {
      for (const user of [...this.#held.keys()]) this.#letGo(user);
      return;
    }
    if (this.#isStopped) return;
    this.#watch = new PresenceWatch({
      redis: this.#redis,
      onChanged: (key) => this.#onChanged(key),
      onMissed: () => this.#renew('presence could not be written again'),
      onFailed: (error) => this.#sayFailed('presence keys that a bridge removes are not seen at once', error),
    });
  }

  /** @param written resolves when Redis has the user's counter, which has just fallen: the script counts what Redis holds */
  release(user: string, counter: string, written: Promise<void>): void {
    this.#letGo(user);
    if (this.#isStopped) return;
    this.#releases.set(user, counter);
    written
      .then(() => this.releaseUsers())
      .catch((error) => this.#sayFailed('presence could not be released yet', error));
  }

  /** Releases who could not be released before; one after the other, however many leave at once. Rejects as the connection does. */
  releaseUsers(): Promise<void> {
    this.#releasing ??= this.#releaseAll().finally(() => {
      this.#releasing = undefined;
    });
    return this.#releasing;
  }

  /** Ends the renewals of what is held. */
  stop(): void {
    this.#isStopped = true;
    this.#stopRenewing();
    this.#watch?.stop();
    this.#redis.off('ready', this.#onReady);
  }

  /** Whoever removes what is held here does not know who holds it. */
  #onChanged(key: string): void {
    const user = key.startsWith(keys.presenceDesktopPrefix)
      ? this.#owners.get(key.slice(keys.presenceDesktopPrefix.length))
      : key.slice(keys.presenceUser('').length);
    const sessions = user === undefined ? undefined : this.#held.get(user);
    if (sessions === undefined) return;
    this.#writeMissing(user!, sessions).catch((error) => this.#sayFailed('presence could not be written again', error));
  }

  #letGo(user: string): void {
    for (const session of this.#held.get(user) ?? []) this.#owners.delete(session);
    this.#held.delete(user);
  }

  /** Nothing is written where nothing is missing: what is written comes back as a change. */
  async #writeMissing(user: string, sessions: Iterable<string>): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const session of sessions) {
      pipeline.set(keys.presenceDesktopPrefix + session, user, 'PX', presenceTtlMs, 'NX');
      pipeline.sadd(keys.presenceUser(user), session);
    }
    const results = await runAll(pipeline);
    if (results.includes(1)) await this.#redis.pexpire(keys.presenceUser(user), presenceTtlMs);
  }

  async #releaseAll(): Promise<void> {
    for (const [user, counter] of this.#releases) {
      await run(
        this.#redis,
        'releasePresence',
        [keys.presenceUser(user), keys.replicas],
        [counter, keys.rosterPrefix, keys.presenceDesktopPrefix],
      );
      this.#releases.delete(user);
    }
  }

  #renew(failure: string): void {
    this.#writeAll().catch((error) => this.#sayFailed(failure, error));
  }

  async #writeAll(): Promise<void> {
    if (!isReady(this.#redis)) return;
    for (const [user, sessions] of this.#held) await this.#write(user, sessions);
  }

  async #write(user: string, sessions: Iterable<string>): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const session of sessions) {
      pipeline.set(keys.presenceDesktopPrefix + session, user, 'PX', presenceTtlMs);
      pipeline.sadd(keys.presenceUser(user), session);
    }
    await runAll(pipeline.pexpire(keys.presenceUser(user), presenceTtlMs));
  }

  #sayFailed(what: string, error: unknown): void {
    if (this.#saysFailure.isDue()) this.#logger.warn({ reason: withoutArguments(error).message }, what);
  }
}
