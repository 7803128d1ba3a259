// This replica's counters and facts in Redis, and through the files beside this one those of the others (other-replicas.ts) and its
// presence keys (presence.ts). In come single counters and what the replica says of itself; out goes the same of all live replicas.
// Promises: memory is the truth, and what Redis lost is written whole again; however many counters there are, no command holds Redis or
// this process up.

import type { Redis } from 'ioredis';
import type { LiveReplica, LogOptions, Roster } from '../log.ts';
import { isReady, runAll } from './connections.ts';
import { factsField, OtherReplicas } from './other-replicas.ts';
import { Presence } from './presence.ts';
import { keys } from './scripts.ts';

const ttlMs = 30_000;
const writeBehindMs = 10;
/** Fields of one command: a few hundred thousand arguments are more than a call of JavaScript takes. */
const chunkSize = 1_000;

export class RedisRoster implements Roster {
  readonly #redis: Redis;
  readonly #options: LogOptions;
  readonly #key: string;
  readonly #others: OtherReplicas;
  readonly #presence: Presence;
  readonly #counters = new Map<string, number>();
  #facts: Record<string, string> = {};
  /** Fields of the hash that Redis does not have yet: counters, and the facts. */
  readonly #unwritten = new Set<string>();
  #isScheduled = false;
  /** `ours` from begin() to stop(): before and after that the hash belongs to another process of this name. */
  #state: 'before' | 'ours' | 'over' = 'before';
  /** A Redis that was away may have come back without its last second. */
  #mayDiffer = false;
  readonly #onClose = () => {
    this.#mayDiffer = true;
  };

  constructor(redis: Redis, options: LogOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#key = keys.rosterPrefix + options.instance;
    this.#others = new OtherReplicas(redis, options);
    this.#presence = new Presence(redis, options);
    redis.on('close', this.#onClose);
  }

  set(counter: string, value: number): void {
    if (value === 0) this.#counters.delete(counter);
    else this.#counters.set(counter, value);
    this.#writeBehind(counter);
  }

  describe(facts: Record<string, string>): void {
    this.#facts = { ...facts };
    this.#writeBehind(factsField);
  }

  async read(): Promise<Map<string, number>[]> {
    const others = await this.#others.counters();
    return [new Map(this.#counters), ...others];
  }

  async replicas(names: string[] = []): Promise<LiveReplica[]> {
    const others = await this.#others.facts(names);
    const counters = new Map(
      names.flatMap((name) => (this.#counters.has(name) ? [[name, this.#counters.get(name)!]] : [])),
    );
    return [{ instance: this.#options.instance, facts: { ...this.#facts }, counters }, ...others];
  }

  holdPresence(user: string, session: string): void {
    // The user's counter goes first: another replica that releases the user at this moment ends what no counter speaks for.
    this.#writeChanges().catch(() => {});
    this.#presence.hold(user, session);
  }

  keepPresence(keeps: boolean): void {
    this.#presence.keep(keeps);
  }

  releasePresence(user: string, counter: string): void {
    this.#presence.release(user, counter, this.#writeChanges());
  }

  /** Writes the roster anew, and from then on what changes in it; before that nothing is written. Rejects as the connection does. */
  async begin(): Promise<void> {
    await this.#redis.del(this.#key);
    this.#unwritten.clear();
    await this.#write([...this.#counters.keys()]);
    if (this.#state === 'over') return;
    this.#state = 'ours';
    await this.#writeChanges();
  }

  /** Keeps the replica's counters alive, or writes them whole where Redis lost them. Rejects as the connection does. */
  async renew(): Promise<void> {
    const isAlive = (await this.#redis.pexpire(this.#key, ttlMs)) === 1;
    if (!isAlive || this.#mayDiffer) await this.#compare();
    await this.#writeChanges();
    await this.#presence.releaseUsers();
  }

  /** Nothing is written any more, and what is held is not renewed. */
  stop(): void {
    this.#state = 'over';
    this.#redis.off('close', this.#onClose);
    this.#presence.stop();
  }

  /** Takes this replica out of the roster. */
  async giveBack(): Promise<void> {
    await runAll(this.#redis.pipeline().srem(keys.replicas, this.#options.instance).del(this.#key));
    await this.#presence.releaseUsers();
  }

  #writeBehind(field: string): void {
    this.#unwritten.add(field);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.after(writeBehindMs, () => {
      this.#isScheduled = false;
      // What cannot be written now is written whole by the next renewal.
      this.#writeChanges().catch(() => {});
    });
  }

  async #writeChanges(): Promise<void> {
    if (this.#unwritten.size === 0 || this.#state !== 'ours' || !isReady(this.#redis)) return;
    const changed = new Set(this.#unwritten);
    this.#unwritten.clear();
    try {
      if (!(await this.#write([...changed]))) return;
    } catch (error) {
      for (const field of changed) this.#unwritten.add(field);
      // A part of it may be there, by which the rest is not missed any more.
      this.#mayDiffer = true;
      throw error;
    }
    for (const counter of this.#counters.keys()) if (!changed.has(counter)) this.#unwritten.add(counter);
    await this.#writeChanges();
  }

  /** What Redis has of this replica is noted where it is another than here, or gone. */
  async #compare(): Promise<void> {
    this.#mayDiffer = false;
    const found = new Map<string, string>();
    try {
      let from = '0';
      do {
        const [next, flat] = await this.#redis.hscan(this.#key, from, 'COUNT', chunkSize);
        for (let at = 0; at < flat.length; at += 2) found.set(flat[at]!, flat[at + 1]!);
        from = next;
      } while (from !== '0');
    } catch (error) {
      this.#mayDiffer = true;
      throw error;
    }
    this.#unwritten.add(factsField);
    for (const field of new Set([...found.keys(), ...this.#counters.keys()]))
      if (found.get(field) !== String(this.#counters.get(field))) this.#unwritten.add(field);
  }

  /**
   * All of it is sent before anything that is asked of Redis later.
   * @returns whether Redis had nothing of this replica any more
   */
  async #write(changed: string[]): Promise<boolean> {
    const names = changed.filter((name) => name !== factsField);
    const { instance } = this.#options;
    const facts = JSON.stringify(this.#facts);
    const begin = this.#redis.pipeline().sadd(keys.replicas, instance).hset(this.#key, factsField, facts);
    // Here, so that the hash of a process that dies before the rest is sent ends by its time.
    const pipelines = [begin.pexpire(this.#key, ttlMs)];
    for (let start = 0; start < names.length; start += chunkSize) {
      const chunk = names.slice(start, start + chunkSize);
      const gone = chunk.filter((counter) => !this.#counters.has(counter));
      const there = chunk.filter((counter) => this.#counters.has(counter));
      const pipeline = this.#redis.pipeline();
      if (there.length > 0)
        pipeline.hset(
          this.#key,
          there.flatMap((name) => [name, String(this.#counters.get(name))]),
        );
      if (gone.length > 0) pipeline.hdel(this.#key, ...gone);
      pipelines.push(pipeline);
    }
    const [[, newFields]] = (await Promise.all(pipelines.map(runAll))) as [unknown[]];
    return newFields === 1;
  }
}
