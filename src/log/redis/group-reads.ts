// What this replica's consumer group is asked for, over a connection of its own. In come reads and acknowledgements; out go Redis'
// replies into the cursors. Promises: one read stays within a bound of bytes, as far as the entries seen last foretell it; where an
// answer or an acknowledgement may be lost, `mustRecover` says so.

import type { Redis } from 'ioredis';
import { type Batch, type LogOptions, maxReadBytes, type Position } from '../log.ts';
import { runAll, within } from './connections.ts';
import type { Cursor, RawEntry } from './cursor.ts';
import type { Cursors, StreamPositions } from './cursors.ts';
import { groupName, inspect, makeGroup, removeGroup, type StreamInfo } from './groups.ts';

/** Of each stream in one read; fewer where they are large. */
const maxCount = 256;
const firstCount = 32;
const goodbyeMs = 2_000;

export type StreamReply = [stream: string, entries: RawEntry[]];

export interface GroupConnections {
  /** For blocking reads, and for questions whose answers must stand between two of them. */
  blocking: Redis;
  commands: Redis;
}

export class GroupReads {
  /** Pending entries are to be read again before new ones. */
  mustRecover = false;
  readonly #blocking: Redis;
  readonly #commands: Redis;
  readonly #options: LogOptions;
  readonly #group: string;
  readonly #cursors: Cursors;
  readonly #onClose = () => {
    this.mustRecover = true;
  };
  /** Acknowledgements for the next read. */
  readonly #owed: StreamPositions[] = [];
  /** XREADGROUP knows no bound in bytes: what the entries seen last took says how many may come at once. */
  #count = firstCount;

  constructor({ blocking, commands }: GroupConnections, options: LogOptions, cursors: Cursors) {
    this.#blocking = blocking;
    this.#commands = commands;
    this.#options = options;
    this.#group = groupName(options);
    this.#cursors = cursors;
    blocking.on('close', this.#onClose);
  }

  /** How many entries of each stream the next read brings at most. */
  get count(): number {
    return this.#count;
  }

  /** Entries that this replica has not been given yet; waits up to `waitMs` for the first. */
  async readNew(wanted: Cursor[], waitMs: number): Promise<StreamReply[]> {
    const names = wanted.map(({ stream }) => stream);
    const from = names.map(() => '>');
    const batch = this.#blocking.pipeline();
    for (const { stream, positions } of this.#owed.splice(0)) batch.xack(stream, this.#group, ...positions);
    batch.xreadgroup(
      'GROUP',
      this.#group,
      this.#options.instance,
      'COUNT',
      this.#count,
      'BLOCK',
      waitMs,
      'STREAMS',
      ...names,
      ...from,
    );
    const replies = await runAll(batch);
    return (replies.at(-1) ?? []) as StreamReply[];
  }

  /** Takes what this replica was given of the stream and has not acknowledged, from its oldest entry on. */
  async takePending({ stream }: Cursor): Promise<void> {
    let from: Position = '0';
    for (;;) {
      const asked = this.#count;
      const reply = await this.#blocking.xreadgroup(
        'GROUP',
        this.#group,
        this.#options.instance,
        'COUNT',
        asked,
        'STREAMS',
        stream,
        from,
      );
      const entries = ((reply ?? []) as StreamReply[])[0]?.[1] ?? [];
      this.take([[stream, entries]]);
      if (entries.length < asked) return;
      from = entries.at(-1)![0];
    }
  }

  /** What was read goes into the cursors; what they know and have acknowledged before is acknowledged once more. */
  take(replies: StreamReply[]): void {
    for (const [stream, entries] of replies) {
      const again = this.#cursors.take(stream, entries);
      if (again.length > 0) this.#owed.push({ stream, positions: again });
    }
    this.#adaptCount(replies.map(([, entries]) => entries));
  }

  /** Goes with the next read. What Redis does not hear is found again among the pending entries, and acknowledged then. */
  acknowledge(batch: Batch): void {
    this.#owed.push(...this.#cursors.acknowledge(batch));
  }

  /** What Redis says of the streams; stands between two reads, as it goes over the same connection. */
  inspect(): Promise<StreamInfo[]> {
    return inspect(this.#blocking, this.#cursors.streams, this.#options);
  }

  /** Makes the group of this stream anew, behind `after`. */
  async makeGroup({ stream }: Cursor, after: Position): Promise<void> {
    await makeGroup(this.#blocking, stream, this.#options, after);
  }

  /**
   * Ends what is under way and removes the groups, unless another process has taken the name. Never rejects, and waits 2 s at most: where
   * Redis is away the groups lapse by themselves, and the replica's end must not fail for it.
   * @param token see lease.ts
   */
  async close(token: string): Promise<void> {
    this.#blocking.off('close', this.#onClose);
    this.#blocking.disconnect();
    const removals = this.#cursors.streams.map((stream) => removeGroup(this.#commands, stream, this.#options, token));
    await within(this.#options.clock, goodbyeMs, Promise.allSettled(removals));
  }

  /** Half the bound is aimed at, as the next entries may be larger; a read that could have brought more lets the count grow. */
  #adaptCount(read: RawEntry[][]): void {
    const most = Math.max(0, ...read.map((entries) => entries.length));
    const bytes = read.flat().reduce((sum, [, fields]) => sum + sizeOf(fields), 0);
    if (bytes > maxReadBytes) this.#count = Math.max(1, Math.floor((this.#count * maxReadBytes) / (2 * bytes)));
    else if (most >= this.#count && bytes < maxReadBytes / 4) this.#count = Math.min(maxCount, 2 * this.#count);
  }
}

function sizeOf(fields: string[] | null): number {
  return fields?.reduce((sum, field) => sum + field.length, 0) ?? 0;
}
