// The Redis engine of the log: one Redis, its streams, and crossfade's own keys beside them. In comes an address, out goes
// a Log once Redis answers and the instance name is ours. The parts lie beside this file; here they are only put together.

import type { Redis } from 'ioredis';
import { parseRedisUrl, type RedisAddress } from '../../redis-url.ts';
import type {
  AcceptedId,
  AppendResult,
  ClaimResult,
  CommitOptions,
  CommitResult,
  ForeignReader,
  Log,
  LogOptions,
  NewEntry,
  Reader,
  Roster,
  StoredState,
  StreamState,
  Tail,
} from '../log.ts';
import { Appender } from './append.ts';
import { Claims } from './claims.ts';
import { ask, connect, isReady, isServerError, noAnswer, unavailable, untilReady, within } from './connections.ts';
import { RedisStateCell } from './cutover-state.ts';
import { warnOfEviction } from './eviction.ts';
import { foreignReaders } from './foreign.ts';
import { GroupSweeper } from './groups.ts';
import { InstanceName } from './instance-name.ts';
import { connectionOf, newToken } from './lease.ts';
import { RedisReader } from './reader.ts';
import { RedisRoster } from './roster.ts';
import { commandName } from './scripts.ts';
import { readTime, ServerClock } from './server-clock.ts';
import { RedisShared } from './shared.ts';
import { RedisTail } from './tail.ts';
import { WriteRefusal } from './write-refusal.ts';

const openTimeoutMs = 5_000;
const answerMs = 2_000;

/** `url`: `redis[s]://[user][:password]@host[:port][/db]`, escaped or not. */
export type RedisLogOptions = LogOptions & { url: string };

/**
 * The instance name is taken by openReader(), which may have to wait for the lease of a process that died with it; until then this
 * replica can append, claim and read the shared state, and is in no roster.
 */
export class RedisLog implements Log {
  readonly roster: Roster;
  readonly #options: LogOptions;
  readonly #address: RedisAddress;
  /** What the lease on the instance name holds when it is ours. */
  readonly #token = newToken();
  readonly #commands: Redis;
  readonly #lookUps: Redis;
  readonly #serverClock: ServerClock;
  readonly #appender: Appender;
  readonly #claims: Claims;
  readonly #stateCell: RedisStateCell;
  readonly #shared: RedisShared;
  readonly #ownRoster: RedisRoster;
  readonly #refusal: WriteRefusal;
  readonly #name: InstanceName;
  readonly #sweeper: GroupSweeper;
  /** Appends and commits that close() waits for. */
  readonly #underWay = new Set<Promise<unknown>>();
  #reader: RedisReader | undefined;

  /** Error: CONFIG_INVALID (the address cannot be read). */
  constructor({ url, ...options }: RedisLogOptions) {
    const { clock } = options;
    this.#options = options;
    this.#address = parseRedisUrl(url);
    const naming = { connectionName: connectionOf(this.#token) };
    this.#commands = connect(this.#address, 'commands', options, {
      enableAutoPipelining: true,
      autoPipeliningIgnoredCommands: [commandName('append')],
      ...naming,
    });
    this.#lookUps = connect(this.#address, 'lookups', options);
    this.#serverClock = new ServerClock(this.#commands, clock, Math.max(options.publishTimeoutMs / 2, 5));
    const writes = { commands: this.#commands, lookUps: this.#lookUps, serverClock: this.#serverClock, options };
    this.#appender = new Appender(writes);
    this.#stateCell = new RedisStateCell(writes);
    this.#claims = new Claims(this.#commands, options);
    this.#shared = new RedisShared(this.#commands, options);
    this.#ownRoster = new RedisRoster(this.#commands, options);
    this.roster = this.#ownRoster;
    this.#refusal = new WriteRefusal(clock);
    this.#name = new InstanceName({
      redis: this.#commands,
      token: this.#token,
      roster: this.#ownRoster,
      refusal: this.#refusal,
      options,
      onLost: () => this.#nameLost(),
    });
    this.#sweeper = new GroupSweeper(this.#commands, options);
  }

  get reachable(): boolean {
    return this.#serverClock.answers;
  }

  get refusal(): string | undefined {
    return this.#refusal.why;
  }

  /** Waits for Redis for 5 s. */
  async open(): Promise<void> {
    const { host, port } = this.#address;
    const { clock, logger } = this.#options;
    await this.#untilAnswers();
    await ask(clock, answerMs, `Redis at ${host}:${port} refuses`, () => this.#serverClock.measure());
    warnOfEviction(this.#commands, logger);
  }

  append(entry: NewEntry): Promise<AppendResult> {
    return this.#tracked(this.#appender.append(entry));
  }

  claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    return this.#claims.claim(eventId, epoch);
  }

  settle(eventId: string, kept: boolean): Promise<void> {
    return this.#claims.settle(eventId, kept);
  }

  rememberIds(ids: AcceptedId[]): Promise<void> {
    return this.#claims.rememberIds(ids);
  }

  time(): Promise<number> {
    const { clock, publishTimeoutMs } = this.#options;
    return ask(clock, publishTimeoutMs, 'its time could not be read', () => readTime(this.#commands));
  }

  readState(): Promise<StoredState | undefined> {
    return this.#stateCell.readState();
  }

  commitState(next: StoredState, options: CommitOptions): Promise<CommitResult> {
    return this.#tracked(this.#stateCell.commitState(next, options));
  }

  share(key: string, value: string, ttlMs: number): Promise<void> {
    return this.#shared.share(key, value, ttlMs);
  }

  shared(key: string): Promise<string | undefined> {
    return this.#shared.shared(key);
  }

  swap(key: string, from: string | undefined, to: string, ttlMs: number): Promise<boolean> {
    return this.#shared.swap(key, from, to, ttlMs);
  }

  foreignReaders(streams: string[], withinMs: number): Promise<ForeignReader[]> {
    return foreignReaders(this.#commands, streams, withinMs, this.#options);
  }

  async openReader(streams: string[]): Promise<Reader> {
    await this.#name.take();
    const { clock } = this.#options;
    const blocking = connect(this.#address, 'reader', this.#options);
    const parts = {
      blocking,
      commands: this.#commands,
      options: this.#options,
      token: this.#token,
      ownsName: () => this.#name.isOurs(),
    };
    const opening = () => RedisReader.open(parts, streams);
    try {
      this.#reader = await ask(clock, openTimeoutMs, 'the consumer groups could not be made', opening);
    } catch (error) {
      blocking.disconnect();
      throw error;
    }
    return this.#reader;
  }

  async openTail(streams: string[]): Promise<Tail> {
    const { clock } = this.#options;
    const redis = connect(this.#address, 'tail', this.#options);
    const givesUpAt = clock.monotonic() + answerMs;
    await untilReady(redis, clock, () => clock.monotonic() < givesUpAt);
    try {
      return await RedisTail.open(redis, streams, clock);
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  async streamStates(): Promise<StreamState[]> {
    const reader = this.#reader;
    if (reader === undefined) return [];
    const question = () => reader.streamStates(this.#commands);
    return ask(this.#options.clock, answerMs, 'the streams could not be looked at', question);
  }

  async close(): Promise<void> {
    const { clock, publishTimeoutMs, logger } = this.#options;
    this.#serverClock.close();
    await within(clock, 2 * publishTimeoutMs + answerMs, Promise.allSettled(this.#underWay));
    this.#name.stop();
    this.#sweeper.close();
    this.#claims.close();
    this.#ownRoster.stop();
    const goodbye = Promise.allSettled([this.#reader?.close(), this.#name.giveBack()]);
    if ((await within(clock, answerMs, goodbye)) === noAnswer) {
      logger.warn('Redis did not answer at the end; lease and groups will lapse by themselves');
    }
    this.#commands.disconnect();
    this.#lookUps.disconnect();
  }

  async #untilAnswers(): Promise<void> {
    const { clock } = this.#options;
    let lastError: Error | undefined;
    const note = (error: Error) => {
      lastError = error;
    };
    this.#commands.on('error', note);
    const giveUpAt = clock.monotonic() + openTimeoutMs;
    await untilReady(this.#commands, clock, () => clock.monotonic() < giveUpAt);
    this.#commands.off('error', note);
    if (isReady(this.#commands)) return;
    // A wrong password, say.
    const refused = isServerError(lastError) ? `refuses: ${lastError!.message}` : 'did not answer within 5 s';
    throw unavailable(`Redis at ${this.#address.host}:${this.#address.port} ${refused}`, 'connection_lost', lastError);
  }

  #tracked<T>(outcome: Promise<T>): Promise<T> {
    this.#underWay.add(outcome);
    outcome.then(
      () => {
        this.#underWay.delete(outcome);
        this.#refusal.noteTaken();
      },
      (error) => {
        this.#underWay.delete(outcome);
        this.#refusal.noteError(error);
      },
    );
    return outcome;
  }

  /** What the name stands for belongs to its new holder from then on. */
  #nameLost(): void {
    this.#reader?.close().catch(() => {});
    // Before the clients end for it: its roster and its users' presence are those of the other process.
    this.#ownRoster.stop();
    this.#options.onInstanceLost();
  }
}
