// SignalR's other transports for the load generator: clients that listen by an event stream or by polls, and say what they have to say by
// POSTs. In come addresses and secrets, out go clients.
// Source: TransportProtocols.md, "Server-Sent Events" and "Long Polling".

import { Agent, request } from 'undici';
import { handshake, joinedText, joinOf, SignalRWire, type SignalRWireOptions } from '../src/bench/signalr.ts';
import type { LoadClient, LoadClientOptions } from '../src/bench/wire.ts';

export type RequestsTransport = 'ServerSentEvents' | 'LongPolling';

const manyConnections = new Agent({ connections: null, headersTimeout: 0, bodyTimeout: 0 });

export class RequestsWire extends SignalRWire {
  readonly #transport: RequestsTransport;

  constructor(options: SignalRWireOptions, transport: RequestsTransport) {
    super(options);
    this.#transport = transport;
  }

  override async join({ user, room, onData, onLost }: LoadClientOptions): Promise<LoadClient> {
    const hub = new URL(this.hub.replace(/^ws/, 'http'));
    const headers = await this.credentials(user);
    const ask = (method: 'GET' | 'POST' | 'DELETE', url: URL, more: { body?: string; signal?: AbortSignal } = {}) =>
      request(url, {
        method,
        headers: { ...headers, accept: 'text/event-stream' },
        dispatcher: manyConnections,
        ...more,
      });
    const negotiate = await ask('POST', new URL(`${hub.href}/negotiate?negotiateVersion=1`));
    const { connectionToken } = (await negotiate.body.json()) as { connectionToken: string };
    hub.searchParams.set('id', connectionToken);
    const say = async (body: string) => void (await (await ask('POST', hub, { body })).body.dump());

    const ended = new AbortController();
    const { promise: isMember, resolve, reject } = Promise.withResolvers<void>();
    let joined = false;
    const take = (data: Buffer) => {
      if (joined) return onData(data);
      joined = data.includes(joinedText);
      if (joined) resolve();
    };
    const get = () => ask('GET', hub, { signal: ended.signal });
    const polls = this.#transport === 'LongPolling';
    // Opens the connection. A first poll is answered at once.
    const first = await get();
    listen(first, polls ? get : undefined, take).catch((error) => {
      reject(error);
      if (!ended.signal.aborted) onLost();
    });
    await say(handshake);
    await say(joinOf(room));
    await isMember;
    return {
      close() {
        ended.abort();
        if (polls)
          ask('DELETE', hub).then(
            ({ body }) => body.dump(),
            () => {},
          );
      },
    };
  }
}

type Got = Awaited<ReturnType<typeof request>>;

/** Rejects when it was ended. @param next asks for more once an answer is over */
async function listen(first: Got, next: (() => Promise<Got>) | undefined, take: (data: Buffer) => void): Promise<void> {
  for (let got: Got | undefined = first; got?.statusCode === 200; got = await next?.()) {
    for await (const chunk of got.body) take(chunk as Buffer);
  }
  throw new Error('the connection has ended');
}
