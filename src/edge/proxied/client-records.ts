// What a client sends, cut into records wherever its chunks were cut: a socket carries whole records, but the body of a
// request comes in pieces. Promises: a larger record than is wanted is passed over: no join and no typing is over 8 KiB, but what a client
// nests into one may take seconds to read.

import { Pieces, ProtocolFault } from '../hub-protocol/protocol.ts';
import type { Codec } from './codec.ts';

/** Of a record that may join, leave or type. */
export const maxSearchedBytes = 8 * 1024;
/** A record that begins with its length has said it within so many bytes. */
const maxPrefixBytes = 16;
const nothing: Buffer = Buffer.alloc(0);

export class ClientRecords {
  readonly #codec: Codec;
  readonly #maxRecords: number;
  /** The begin of a record, and how long it will be, where it says so. */
  readonly #pending = new Pieces();
  #length: number | undefined;
  /** Bytes of a large record that are still to come; Infinity where only its end will tell. */
  #toPass = 0;
  #lost = false;
  #maxBytes = maxSearchedBytes;

  /** @param maxRecords of one chunk; what is behind one more is not cut */
  constructor(codec: Codec, maxRecords: number) {
    this.#codec = codec;
    this.#maxRecords = maxRecords;
  }

  /** Whether the rest of a record is still to come. */
  get isMidRecord(): boolean {
    return this.#pending.bytes > 0 || this.#toPass > 0;
  }

  /** @returns the records that this chunk completes, with their framing; none larger than `maxBytes` */
  push(chunk: Buffer, maxBytes = maxSearchedBytes): Buffer[] {
    if (this.#lost) return [];
    this.#maxBytes = maxBytes;
    try {
      return this.#cut(this.#behindLarge(chunk));
    } catch (error) {
      if (!(error instanceof ProtocolFault)) throw error;
      // The bridge ends such a connection; until then nothing of it can be understood.
      this.#lost = true;
      return [];
    }
  }

  #cut(chunk: Buffer): Buffer[] {
    if (this.#pending.bytes > 0 && !this.#mayEndIn(chunk)) {
      this.#keep(chunk, this.#length);
      return [];
    }
    const bytes = this.#pending.bytes === 0 ? chunk : Buffer.concat([this.#pending.take(), chunk]);
    const records: Buffer[] = [];
    let at = 0;
    let length = this.#codec.recordLength(bytes, at);
    while (length !== undefined && at + length <= bytes.length) {
      if (length <= this.#maxBytes) records.push(bytes.subarray(at, at + length));
      if (records.length > this.#maxRecords) return records;
      at += length;
      length = this.#codec.recordLength(bytes, at);
    }
    this.#keep(bytes.subarray(at), length);
    return records;
  }

  /** Whether the record that has begun may end in this chunk. A client may send a large one byte by byte: it is not looked at anew for each. */
  #mayEndIn(chunk: Buffer): boolean {
    const { bytes } = this.#pending;
    if (this.#length !== undefined) return bytes + chunk.length >= this.#length;
    // Behind that it is one that ends with a separator, for which the chunk alone is searched.
    return bytes <= maxPrefixBytes || this.#codec.recordLength(chunk, 0) !== undefined;
  }

  /** The rest of a chunk is the begin of a record, or more of it. */
  #keep(rest: Buffer, length: number | undefined): void {
    const bytes = this.#pending.bytes + rest.length;
    if (bytes > this.#maxBytes) {
      this.#pending.take();
      this.#toPass = (length ?? Number.POSITIVE_INFINITY) - bytes;
      this.#length = undefined;
      return;
    }
    // A copy: what waits must not keep the whole chunk in memory.
    if (rest.length > 0) this.#pending.add(Buffer.from(rest));
    this.#length = length;
  }

  /** What of the chunk does not belong to a large record that is being passed over. */
  #behindLarge(chunk: Buffer): Buffer {
    if (this.#toPass === 0) return chunk;
    const end = this.#toPass === Number.POSITIVE_INFINITY ? this.#codec.recordLength(chunk, 0) : this.#toPass;
    if (end === undefined) return nothing;
    this.#toPass = Math.max(0, end - chunk.length);
    return chunk.subarray(end);
  }
}
