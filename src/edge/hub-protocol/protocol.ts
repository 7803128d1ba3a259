// What the hub protocols have in common: what a client may say, in whichever of them, and how a peer breaks them.

export type HubProtocolName = 'json' | 'messagepack';

/** The peer broke the protocol; the connection ends with an error. */
export class ProtocolFault extends Error {}

export type ClientMessage =
  | {
      kind: 'invocation';
      invocationId: string | undefined;
      target: string;
      /** Raw JSON texts; undefined where one of them is no value that a hub could take. */
      args: string[] | undefined;
      streaming: boolean;
    }
  | { kind: 'ping' }
  | { kind: 'close' }
  /** Of a type that asks nothing of these hubs: stream items, completions, cancellations, acks, unknown ones. */
  | { kind: 'ignored' };

/** No method has as many arguments: what is behind them is not looked for. */
export const maxArguments = 64;

/** Cuts a stream of bytes into records, wherever its chunks were cut. */
export interface RecordSplitter {
  /**
   * @param most how many records are looked for; what is behind one more is not cut
   * @returns the records that this chunk completes, without their framing
   * @throws ProtocolFault for a record over the limit
   */
  push(chunk: Buffer, most: number): Buffer[];
}

export function tooLarge(maxRecordBytes: number): ProtocolFault {
  return new ProtocolFault(`The maximum message size of ${maxRecordBytes}B was exceeded.`);
}

/** What has come of a record: a client may send it byte by byte. */
export class Pieces {
  #pieces: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(piece: Buffer): void {
    if (this.#pieces.length === maxPieces) this.#pieces = [Buffer.concat(this.#pieces)];
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** All of them as one, which are not kept any more. */
  take(): Buffer {
    const [first] = this.#pieces;
    const whole = this.#pieces.length === 1 ? first! : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    return whole;
  }
}

/** Before they are made one. */
const maxPieces = 64;
