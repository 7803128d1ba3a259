// The SignalR side of the load generator: in come a hub's address, the address of the HTTP calls and the secrets, out go clients that
// speak the hub protocol in JSON over a WebSocket, and calls as the backend makes them (contract support-center).
// Promises to be cheap: no negotiation, nothing parsed but the answer to the join; a client pings as the real one does.

import { SignJWT } from 'jose';
import { WebSocket } from 'ws';
import {
  type CallTemplate,
  type LoadClient,
  type LoadClientOptions,
  messageJson,
  typistName,
  type Wire,
} from './wire.ts';

export interface SignalRWireOptions {
  /** The hub, or the base of an edge: `/hubs/chat` is meant then. */
  url: string;
  /** Base of the HTTP calls. */
  publish: string;
  apiKey: string | undefined;
  jwtSecret: string;
}

const recordSeparator = '\x1e';
export const handshake = `{"protocol":"json","version":1}${recordSeparator}`;
const ping = `{"type":6}${recordSeparator}`;
/** The confirmation of the join. */
export const joinedText = '"RoomJoined"';
const pingMs = 15_000;
const joinTimeoutMs = 20_000;
const tokenSeconds = 24 * 3600;

export class SignalRWire implements Wire {
  readonly origin: string;
  readonly headers: Record<string, string>;
  readonly message: CallTemplate;
  readonly typing: CallTemplate;
  /** Its address, as a WebSocket's. */
  protected readonly hub: string;
  readonly #secret: Uint8Array;

  constructor({ url, publish, apiKey, jwtSecret }: SignalRWireOptions) {
    const hub = new URL(url);
    hub.protocol = hub.protocol.replace('http', 'ws');
    if (hub.pathname === '/') hub.pathname = '/hubs/chat';
    this.hub = hub.href;
    const { origin, pathname } = new URL(publish);
    this.origin = origin;
    const base = pathname.replace(/\/$/, '');
    this.message = {
      path: `${base}/internal/chat/message`,
      body: `{"event_id":"{id}","request_id":"{room}","message":${messageJson('{room}', '{index}', '{id}')}}`,
    };
    this.typing = {
      path: `${base}/internal/chat/typing`,
      body: `{"event_id":"{id}","request_id":"{room}","user_id":"${typistName('{typist}')}","is_typing":{isTyping}}`,
    };
    this.headers = {
      'content-type': 'application/json',
      ...(apiKey !== undefined && { 'x-internal-api-key': apiKey }),
    };
    this.#secret = new TextEncoder().encode(jwtSecret);
  }

  async join(options: LoadClientOptions): Promise<LoadClient> {
    const socket = new WebSocket(this.hub, {
      perMessageDeflate: false,
      skipUTF8Validation: true,
      headers: await this.credentials(options.user),
    });
    return joined(socket, options);
  }

  /** The header by which the hub knows a user. */
  protected async credentials(user: string): Promise<Record<string, string>> {
    const token = await new SignJWT({ sub: user, exp: Math.floor(Date.now() / 1000) + tokenSeconds })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .sign(this.#secret);
    return { authorization: `Bearer ${token}` };
  }
}

/** The client's invocation that joins a room. */
export function joinOf(room: string): string {
  return `{"type":1,"invocationId":"1","target":"JoinRoom","arguments":["${room}"]}${recordSeparator}`;
}

/** Shakes hands, joins the room, and hands on what comes behind the confirmation. */
function joined(socket: WebSocket, { room, onData, onLost }: LoadClientOptions): Promise<LoadClient> {
  const { promise, resolve, reject } = Promise.withResolvers<LoadClient>();
  let stage: 'opening' | 'joining' | 'member' | 'closed' = 'opening';
  const timeout = setTimeout(() => socket.terminate(), joinTimeoutMs);
  const pings = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(ping), pingMs);
  const close = () => {
    stage = 'closed';
    socket.close();
  };
  socket.once('open', () => socket.send(handshake));
  socket.on('message', (data: Buffer) => {
    if (stage === 'member') return onData(data);
    if (stage === 'opening') {
      stage = 'joining';
      socket.send(joinOf(room));
    }
    if (!data.includes(joinedText)) return;
    stage = 'member';
    clearTimeout(timeout);
    resolve({ close });
  });
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('close', (code) => {
    clearTimeout(timeout);
    clearInterval(pings);
    if (stage === 'member') onLost();
    else reject(failure ?? new Error(`the connection ended before the client was a member (${code})`));
  });
  return promise;
}
