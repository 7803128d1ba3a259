// One log in memory for several replicas of one test: appends are ordered at once, each replica reads when the test's event
// loop turns, and any replica can be stopped and continued as SIGSTOP does. It does what the cutover needs of a log.

import { CrossfadeError } from '../../src/errors.ts';
import type { Entry, LiveReplica, Log, NewEntry, StoredState } from '../../src/log/log.ts';

export class SharedLog {
  readonly entries: Entry[] = [];
  readonly readers = new Map<string, (entry: Entry) => void>();
  readonly #stopped = new Set<string>();
  readonly #readTo = new Map<string, number>();
  state: StoredState | undefined;
  reachable = true;
  /** Why nothing can be written. */
  refusal: Error | undefined;
  /** What is committed stands, and whoever has committed it is not told. */
  losesAnswer = false;

  /** The log as one replica has it. */
  of(instance: string, facts: Record<string, string> = {}): Log {
    const log = {
      append: async (entry: NewEntry) => {
        this.#require();
        if (entry.epoch !== undefined && entry.epoch < (this.state?.epoch ?? 0)) return 'stale';
        this.#keep(instance, entry);
        return 'appended';
      },
      readState: async () => {
        this.#require();
        return this.state;
      },
      commitState: async (next: StoredState, { over, note, withinMs }: Parameters<Log['commitState']>[1]) => {
        this.#require();
        if (this.refusal !== undefined) throw this.refusal;
        if (withinMs <= 0) return 'late';
        const stored = this.state?.epoch ?? 0;
        if (stored > over || next.epoch <= stored) return 'conflict';
        this.state = next;
        this.#keep(instance, note);
        if (this.losesAnswer)
          throw new CrossfadeError('LOG_APPEND_UNKNOWN', 'the answer is lost', { reason: 'timeout' });
        return 'committed';
      },
      foreignReaders: async () => [],
      rememberIds: async () => {},
      roster: {
        describe: (told: Record<string, string>) => Object.assign(facts, told),
        replicas: async (): Promise<LiveReplica[]> => {
          this.#require();
          return [...this.readers.keys()].map((each) => ({ instance: each, facts: {}, counters: new Map() }));
        },
      },
    };
    Object.defineProperty(log, 'reachable', { get: () => this.reachable });
    return log as unknown as Log;
  }

  read(instance: string, onEntry: (entry: Entry) => void): void {
    this.readers.set(instance, onEntry);
    this.#readTo.set(instance, this.entries.length);
  }

  stop(instance: string): void {
    this.#stopped.add(instance);
  }

  continue(instance: string): void {
    this.#stopped.delete(instance);
    this.#wake(instance);
  }

  lose(): void {
    this.state = undefined;
  }

  #require(): void {
    if (!this.reachable) throw new Error('the log is away');
  }

  #keep(instance: string, entry: NewEntry): void {
    const position = `1-${this.entries.length + 1}`;
    this.entries.push({ ...entry, eventId: entry.eventId ?? position, position, publishedAtMs: 0, instance } as Entry);
    for (const reader of this.readers.keys()) setImmediate(() => this.#wake(reader));
  }

  #wake(instance: string): void {
    while (this.#reads(instance) && this.#readTo.get(instance)! < this.entries.length) {
      const at = this.#readTo.get(instance)!;
      this.#readTo.set(instance, at + 1);
      this.readers.get(instance)!(this.entries[at]!);
    }
  }

  #reads(instance: string): boolean {
    return this.readers.has(instance) && !this.#stopped.has(instance);
  }
}
