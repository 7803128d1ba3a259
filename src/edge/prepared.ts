// Hub messages of one room for one group, prepared for every way in which a connection may take them.
// In come a room and its records, out go bytes; each form is encoded at most once, when the first member asks for it.

import { binaryFrame, frameBody, textFrame } from './frame.ts';
import { invocation } from './hub-protocol/json.ts';
import { messagePack } from './hub-protocol/messagepack.ts';

/** One hub message with the event that caused it. */
export interface PreparedRecord {
  method: string;
  /** The message's one argument as raw JSON. */
  payload: string;
  /** Empty where the entry's publisher gave none. */
  eventId: string;
}

export class Prepared {
  readonly room: string;
  readonly records: readonly PreparedRecord[];
  /** The bridge has shown it to the proxied members. */
  readonly isForNative: boolean;
  #textFrame: Buffer | undefined;
  #binaryFrame: Buffer | undefined;
  #serverSentEvent: Buffer | undefined;

  constructor(room: string, records: readonly PreparedRecord[], isForNative = false) {
    this.isForNative = isForNative;
    this.room = room;
    this.records = records;
  }

  /** @returns undefined where no record is left; itself where none is of these events */
  without(eventIds: ReadonlySet<string>): Prepared | undefined {
    const left = this.records.filter(({ eventId }) => !eventIds.has(eventId));
    if (left.length === this.records.length) return this;
    return left.length === 0 ? undefined : new Prepared(this.room, left, this.isForNative);
  }

  /** JSON records with their separators. */
  get json(): Buffer {
    return frameBody(this.textFrame);
  }

  /** {@link json} as one WebSocket text message. */
  get textFrame(): Buffer {
    this.#textFrame ??= textFrame(this.#text());
    return this.#textFrame;
  }

  /** MessagePack records with their length prefixes. */
  get messagePack(): Buffer {
    return frameBody(this.binaryFrame);
  }

  /** {@link messagePack} as one WebSocket binary message. */
  get binaryFrame(): Buffer {
    this.#binaryFrame ??= binaryFrame(Buffer.concat(this.records.flatMap(encode)));
    return this.#binaryFrame;
  }

  /** {@link json} as one server-sent event. JSON has line breaks between its tokens only, where a space does as well. */
  get serverSentEvent(): Buffer {
    this.#serverSentEvent ??= Buffer.from(`data: ${this.#text().replace(/[\r\n]+/g, ' ')}\r\n\r\n`);
    return this.#serverSentEvent;
  }

  #text(): string {
    return this.records.map(({ method, payload }) => invocation(method, [payload])).join('');
  }
}

/** What nests too deep for any reader has no MessagePack form; it must not keep the other records back. */
function encode({ method, payload }: PreparedRecord): Buffer[] {
  try {
    return [messagePack.invocation(method, [payload])];
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
}
