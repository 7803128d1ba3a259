// One hub connection of the toy bridge: the JSON hub protocol on top of whatever transport carries it.
// In comes text in any slices; records go out through the transport, those of one turn together.
// Promises: handshake, completions, pings, client timeout and Close as ASP.NET Core SignalR has them.

import type { ToyHub, ToyMember } from './toy-bridge-hubs.ts';
import { type Json, parseJson } from './toy-bridge-json.ts';

export interface ToyTransport {
  write(text: string): void;
  /** Ends the transport once all that was written has gone. */
  close(): void;
}

interface Message {
  type: number;
  invocationId: Json | undefined;
  target: string;
  args: Json[];
}

const separator = '\x1e';
const maxRecordBytes = 1024 * 1024;
const maxHubDepth = 64;
const pingMs = 15_000;
const clientTimeoutMs = 30_000;
const handshakeTimeoutMs = 15_000;
const brokenClose = '{"type":7,"error":"Connection closed with an error.","allowReconnect":true}';

export class ToyConnection implements ToyMember {
  readonly user: string;
  readonly session: string | undefined;
  readonly #hub: ToyHub;
  readonly #transport: ToyTransport;
  #state: 'handshake' | 'open' | 'ended' = 'handshake';
  #input = '';
  #output = '';
  #lastHeard = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout;

  /** @param user undefined where the token names none: the connection is then closed after its handshake */
  constructor(hub: ToyHub, user: string | undefined, session: string | undefined, transport: ToyTransport) {
    this.session = session;
    this.#hub = hub;
    this.user = user ?? '';
    this.#transport = transport;
    this.#timer = setTimeout(() => this.#close('{"error":"Handshake was canceled."}'), handshakeTimeoutMs).unref();
  }

  receive(text: string): void {
    if (this.#state === 'ended') return;
    const records = (this.#input + text).split(separator);
    this.#input = records.pop()!;
    if (this.#state === 'handshake' && records.length > 0) this.#shakeHands(records.shift()!);
    const messages = readMessages(records, this.#input);
    if (messages === undefined) this.#close(brokenClose);
    else for (const message of messages) this.#dispatch(message);
  }

  send(record: string): void {
    if (this.#state === 'ended') return;
    if (this.#output === '') queueMicrotask(() => this.#flush());
    this.#output += record + separator;
  }

  /** The transport is gone. */
  lost(): void {
    if (this.#state === 'ended') return;
    clearTimeout(this.#timer);
    this.#state = 'ended';
    this.#hub.disconnect(this);
  }

  #shakeHands(record: string): void {
    const refusal = handshakeRefusal(record);
    if (refusal === undefined) this.#accept();
    else this.#close(JSON.stringify({ error: refusal }));
  }

  #accept(): void {
    this.#state = 'open';
    this.send('{}');
    clearTimeout(this.#timer);
    this.#timer = setInterval(() => this.#keepAlive(), pingMs).unref();
    if (this.#hub.refuses(this)) this.#close('{"type":7}');
    else this.#hub.connect(this);
  }

  #keepAlive(): void {
    if (Date.now() - this.#lastHeard > clientTimeoutMs) this.#close(brokenClose);
    else this.send('{"type":6}');
  }

  #dispatch(message: Message): void {
    if (this.#state === 'ended') return;
    // The client timeout is armed by the first ping, and from then on by everything.
    if (message.type === 6 || this.#lastHeard < Number.POSITIVE_INFINITY) this.#lastHeard = Date.now();
    if (message.type === 1) this.#invoke(message);
    if (message.type === 7) this.#close('{"type":7}');
  }

  #invoke({ target, args, invocationId }: Message): void {
    const error = this.#hub.invoke(this, target, args);
    if (invocationId === undefined) return;
    const outcome = error === undefined ? '"result":null' : `"error":${JSON.stringify(error)}`;
    this.send(`{"type":3,"invocationId":${invocationId.raw},${outcome}}`);
  }

  #close(lastRecord: string): void {
    if (this.#state === 'ended') return;
    this.send(lastRecord);
    this.#flush();
    this.lost();
    this.#transport.close();
  }

  #flush(): void {
    if (this.#output !== '') this.#transport.write(this.#output);
    this.#output = '';
  }
}

function handshakeRefusal(record: string): string | undefined {
  try {
    const fields = new Map(parseJson(record, maxHubDepth).members);
    const protocol = fields.get('protocol')!;
    const version = fields.get('version')!;
    if (protocol.kind !== 'string' || !/^\d+$/.test(version.raw)) throw new TypeError('a field has the wrong type');
    if (protocol.text.toLowerCase() !== 'json') return `The protocol '${protocol.text}' is not supported.`;
    if (Number(version.raw) <= 2) return undefined;
    return `The server does not support version ${version.raw} of the 'json' protocol.`;
  } catch {
    return 'An unexpected error occurred during connection handshake.';
  }
}

/**
 * As on the bridge, one broken record spoils all records that came with it.
 * @param rest the begin of a record that is still coming
 */
function readMessages(records: string[], rest: string): Message[] | undefined {
  if ([rest, ...records].some((record) => Buffer.byteLength(record) >= maxRecordBytes)) return undefined;
  try {
    return records.map(readToyMessage);
  } catch {
    return undefined;
  }
}

function readToyMessage(record: string): Message {
  const message = parseJson(record, maxHubDepth);
  const fields = new Map(message.members);
  const type = fields.get('type');
  if (message.kind !== 'object' || type?.kind !== 'number') throw new TypeError('a record has no type');
  const invocationId = fields.get('invocationId');
  const target = fields.get('target');
  const args = fields.get('arguments');
  if (type.raw === '1' && (target?.kind !== 'string' || args?.kind !== 'array')) {
    throw new TypeError('an invocation lacks its target or its arguments');
  }
  if (invocationId !== undefined && invocationId.kind !== 'string') throw new TypeError('an invocationId is no string');
  return { type: Number(type.raw), invocationId, target: target?.text ?? '', args: args?.items ?? [] };
}
