// What Redis gives one replica to read, as it passes by: in come the bytes of the replica's connections, out go the log's
// events and the cutover's notes, each with its position and the times at which it passed.

import decoding from 'ioredis/built/resp/decoder.js';
import { type Note, readNote } from '../../../src/cutover/control.ts';
import { decodeEntry } from '../../../src/log/entry.ts';
import { controlStream, type Entry, typingStream } from '../../../src/log/log.ts';

export interface Passed {
  entry: Entry;
  /** ms of performance.now(); what was not acknowledged passes again after an outage. */
  times: number[];
}

export interface PassedNote extends Passed {
  note: Note;
}

/** A reply to XREADGROUP: stream -> entries. */
type Batches = Record<string, [position: string, fields: string[]][]>;

export class Wire {
  /** Event id -> the event. */
  readonly events = new Map<string, Passed>();
  /** In the order of the log. */
  readonly notes: PassedNote[] = [];
  readonly #notes = new Map<string, PassedNote>();

  /** @returns what sees a new connection's bytes */
  connection(): (reply: Buffer) => void {
    const decoder = new decoding.Decoder({
      onReply: (reply) => this.#read(reply),
      onErrorReply() {},
      onPush() {},
      getTypeMapping: () => ({}),
    });
    return (bytes) => decoder.write(bytes);
  }

  #read(reply: unknown): void {
    if (!isBatches(reply)) return;
    for (const [stream, entries] of Object.entries(reply)) {
      for (const [position, fields] of entries) {
        const entry = decodeEntry(stream, position, fields);
        if ('reason' in entry) continue;
        if (stream === controlStream || stream === typingStream) this.#passNote(entry);
        else this.#passEvent(entry);
      }
    }
  }

  #passEvent(entry: Entry): void {
    const passed = this.events.get(entry.eventId) ?? { entry, times: [] };
    passed.times.push(performance.now());
    this.events.set(entry.eventId, passed);
  }

  #passNote(entry: Entry): void {
    const known = this.#notes.get(entry.position);
    const passed = known ?? { entry, note: readNote(entry)!, times: [] };
    passed.times.push(performance.now());
    if (known !== undefined) return;
    this.#notes.set(entry.position, passed);
    this.notes.push(passed);
  }
}

const streams = /^(events:|crossfade:(control|typing))/;

function isBatches(reply: unknown): reply is Batches {
  if (typeof reply !== 'object' || reply === null || Array.isArray(reply)) return false;
  return Object.entries(reply).every(([stream, entries]) => streams.test(stream) && Array.isArray(entries));
}
