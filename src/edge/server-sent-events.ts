// Server-sent events out of bytes, wherever the bytes were cut: in come chunks of a stream, out go whole events.
// Source: WHATWG HTML, 9.2.6; ASP.NET writes `:\r\n` first, then `data: <records>\r\n\r\n` for each message.

export interface EventPart {
  /** As it came. Anything may be written before and behind it. */
  raw: Buffer;
  /** What its data lines say; undefined for a comment. */
  data: Buffer | undefined;
}

const lineEnd = Buffer.from('\r\n');
const eventEnd = Buffer.from('\r\n\r\n');
const dataPrefix = Buffer.from('data: ');
const colon = 0x3a;
const carriageReturn = 0x0d;

export class EventSplitter {
  #pending: Buffer[] = [];
  /** The last bytes of what is pending, which may be the begin of an event's end. */
  #tail: Buffer = Buffer.alloc(0);
  #pendingBytes = 0;

  /** Bytes of an event that has not come as a whole yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** What has come of an event that is not whole. */
  get rest(): Buffer {
    return Buffer.concat(this.#pending);
  }

  /** @returns what this chunk completes */
  push(chunk: Buffer): EventPart[] {
    const parts: EventPart[] = [];
    let left = chunk;
    while (left.length > 0) {
      const end = this.#endIn(left);
      this.#keep(left.subarray(0, end));
      left = left.subarray(end ?? left.length);
      if (end !== undefined) parts.push(this.#take());
    }
    return parts;
  }

  /** Where in the chunk the pending event ends; a comment and an empty line have no event around them. */
  #endIn(chunk: Buffer): number | undefined {
    const first = this.#pending[0]?.[0] ?? chunk[0];
    const end = first === colon || first === carriageReturn ? lineEnd : eventEnd;
    const at = Buffer.concat([this.#tail, chunk.subarray(0, end.length)]).indexOf(end);
    if (at !== -1) return at + end.length - this.#tail.length;
    const further = chunk.indexOf(end);
    return further === -1 ? undefined : further + end.length;
  }

  #keep(bytes: Buffer): void {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#tail = Buffer.concat([this.#tail, bytes.subarray(-3)]).subarray(-3);
  }

  #take(): EventPart {
    const raw = this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#tail = Buffer.alloc(0);
    return { raw, data: dataOf(raw) };
  }
}

/** @param data hub records; a line break in them would begin a new data line */
export function eventOf(data: Buffer): Buffer {
  return Buffer.from(`data: ${data.toString().replace(/\r\n|\r|\n/g, '\r\ndata: ')}\r\n\r\n`);
}

function dataOf(raw: Buffer): Buffer | undefined {
  const content = raw.subarray(dataPrefix.length, -eventEnd.length);
  // The normal case: one line, which is taken as it stands.
  if (raw.indexOf(dataPrefix) === 0 && !content.includes(lineEnd)) return content;
  const lines = raw
    .toString()
    .split('\r\n')
    .filter((line) => line.startsWith('data: '));
  if (lines.length === 0) return undefined;
  return Buffer.from(lines.map((line) => line.slice('data: '.length)).join('\n'));
}
