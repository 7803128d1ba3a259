// What the load generator needs of a system under load: a client that is a member of a room, and the HTTP calls by which something is
// said there. One implementation for SignalR (signalr.ts); the comparison in bench/ has more.
// A message carries its number, so that what a client gets is known without being parsed: `~i17~` in its text is the 17th message.

/** A connected client that is a member of its room. */
export interface LoadClient {
  close(): void;
}

export interface LoadClientOptions {
  user: string;
  room: string;
  /** Every piece of data that the client gets once it is a member, whole messages each time. */
  onData(data: Buffer): void;
  /** The connection has ended, and nobody here has ended it. */
  onLost(): void;
}

/** An HTTP request of the backend; always a POST of JSON. */
export interface LoadCall {
  path: string;
  body: string;
}

/** A call before its values are known: `{room}`, `{index}`, `{id}`, `{typist}` and `{isTyping}` stand for them. */
export type CallTemplate = LoadCall;

export interface Wire {
  /** Where the calls go: scheme, host and port. */
  readonly origin: string;
  /** With each call, names in lower case. */
  readonly headers: Record<string, string>;
  /** Resolves when the client is a member of the room; rejects if it is refused. */
  join(options: LoadClientOptions): Promise<LoadClient>;
  /** The call that shows a message to every member of the room: {@link messageJson} of `{room}`, `{index}` and `{id}`. */
  readonly message: CallTemplate;
  /** The call that shows a note of typing to every member of the room; undefined where the system has none. */
  readonly typing: CallTemplate | undefined;
}

/** What every system is asked to carry: a message as the help desk's backend writes it, about 400 bytes. */
export function messageJson(room: string, index: number | '{index}', id: string): string {
  return `{"id":"${id}","requestId":"${room}","senderId":"agent","sender":{"id":"agent","username":"agent.smith","fullName":"Agent Smith","email":"agent@example.com"},"content":"~i${index}~ Have you tried to switch it off and on again? It helps more often than one would think.","sequenceNumber":${index},"isScreenshot":false,"screenshotFileName":null,"isRead":false,"createdAt":"2026-01-16T10:30:00Z","updatedAt":null,"clientTempId":null}`;
}

/** The user of a note of typing, in whose name its number stands. */
export function typistName(typist: number | '{typist}'): string {
  return `~t${typist}~`;
}

type CallValues = Record<string, string | number | boolean>;

/** @returns a function that makes the call of its values, none of which may need an escape in JSON or in a path */
export function callWriter({ path, body }: CallTemplate): (values: CallValues) => LoadCall {
  const [pathOf, bodyOf] = [path, body].map(textWriter);
  return (values) => ({ path: pathOf!(values), body: bodyOf!(values) });
}

function textWriter(template: string): (values: CallValues) => string {
  // split() with one capture alternates: literal, name, literal, name, …
  const parts = template.split(/\{(room|index|id|typist|isTyping)\}/);
  return (values) => parts.map((part, n) => (n % 2 === 0 ? part : values[part])).join('');
}

export type Marker = { kind: 'message'; index: number } | { kind: 'typing'; typist: number; isTyping: boolean };

const tilde = 0x7e;
const zero = 0x30;
const messageLetter = 0x69;
const typingLetter = 0x74;
const isTypingText = Buffer.from('"isTyping":true');
/** From the name of a typist to the word behind it, blanks included. */
const isTypingWithin = 24;

/** Calls `found` with each number in the data, in order. The object is the same each time. */
export function readMarkers(data: Buffer, found: (marker: Marker) => void): void {
  for (let at = data.indexOf(tilde); at !== -1; at = data.indexOf(tilde, at + 1)) {
    const letter = data[at + 1];
    if (letter !== messageLetter && letter !== typingLetter) continue;
    let number = 0;
    for (at += 2; data[at] !== tilde && at < data.length; at++) number = number * 10 + (data[at]! - zero);
    if (letter === messageLetter) found({ kind: 'message', index: number });
    else {
      const isTyping = data.subarray(at, at + isTypingWithin).includes(isTypingText);
      found({ kind: 'typing', typist: number, isTyping });
    }
  }
}
