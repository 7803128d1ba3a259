// A bridge of the tests that does what a test tells it, byte for byte: nothing of SignalR, only HTTP and WebSockets.
// In come a test and what it answers; out go the bridge's URL and everything that it was asked. Closed with the test.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { until } from '../../support/wait.ts';

export interface Asked {
  request: IncomingMessage;
  response: ServerResponse;
  body: string;
}

export interface ScriptedBridge {
  url: string;
  port: number;
  /** Every plain request so far; those that `answer` leaves open are the test's to answer. */
  asked: Asked[];
  /** Every WebSocket that was opened, with its upgrade. */
  sockets: { socket: WebSocket; request: IncomingMessage; messages: { data: string; binary: boolean }[] }[];
  /** The socket of every upgrade that `refuse` was given. */
  refused: Socket[];
  close(): Promise<void>;
}

export interface Script {
  host?: string;
  /** Called with the whole body. */
  answer?(asked: Asked): void;
  /** Lines for the 101, such as `Set-Cookie: a=b`. */
  upgradeHeaders?: string[];
  /** In place of taking the WebSocket. */
  refuse?(request: IncomingMessage, socket: Socket): void;
  protocol?: string;
}

export async function startScriptedBridge(t: TestContext, script: Script = {}): Promise<ScriptedBridge> {
  const asked: Asked[] = [];
  const sockets: ScriptedBridge['sockets'] = [];
  const refused: Socket[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    request.on('error', () => {});
    for await (const chunk of request) body += chunk;
    const one = { request, response, body };
    asked.push(one);
    script.answer?.(one);
  });
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    handleProtocols: () => script.protocol ?? false,
  });
  webSockets.on('headers', (lines) => lines.push(...(script.upgradeHeaders ?? [])));
  server.on('upgrade', (request, socket, head) => {
    if (script.refuse) {
      refused.push(socket as Socket);
      // Read, so that its end is seen.
      socket.resume();
      return script.refuse(request, socket as Socket);
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const messages: { data: string; binary: boolean }[] = [];
      webSocket.on('message', (data, binary) => messages.push({ data: data.toString(), binary }));
      webSocket.on('error', () => {});
      sockets.push({ socket: webSocket, request, messages });
    });
  });
  server.listen(0, script.host ?? '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    for (const { socket } of sockets) socket.terminate();
    for (const socket of refused) socket.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  t.after(close);
  return { url: `http://${script.host ?? '127.0.0.1'}:${port}`, port, asked, sockets, refused, close };
}

/** How a WebSocket has ended, as its peer sees it; `lost` without a close frame. */
export interface SeenClose {
  code: number;
  reason: string;
}

export interface SeenSocket {
  socket: WebSocket;
  messages: { data: string; binary: boolean }[];
  /** Of the 101, in lower case. */
  headers: IncomingMessage['headers'];
  closed: SeenClose | undefined;
}

/** Opens a WebSocket to a hub, or to what stands in front of it. @param path with its query, as on the wire */
export async function openWebSocket(
  t: TestContext,
  url: string,
  path: string,
  options: { protocols?: string[]; headers?: Record<string, string>; perMessageDeflate?: boolean } = {},
): Promise<SeenSocket> {
  const { protocols = [], ...rest } = options;
  const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, {
    perMessageDeflate: false,
    ...rest,
    finishRequest: (request) => {
      request.path = path;
      request.end();
    },
  });
  const seen: SeenSocket = { socket, messages: [], headers: {}, closed: undefined };
  socket.on('upgrade', (response) => {
    seen.headers = response.headers;
  });
  socket.on('message', (data, binary) => seen.messages.push({ data: data.toString(), binary }));
  socket.on('close', (code, reason) => {
    seen.closed = { code, reason: reason.toString() };
  });
  socket.on('error', () => {});
  t.after(() => socket.terminate());
  await until(() => socket.readyState === WebSocket.OPEN || seen.closed, { what: `${path} to open` });
  if (seen.closed) throw new Error('the WebSocket was refused');
  return seen;
}

/** One HTTP/1.1 exchange on a socket of its own, everything as on the wire; resolves when the server has closed. */
export async function exchange(t: TestContext, url: string, request: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  t.after(() => socket.destroy());
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
  });
  socket.write(request.replace(/\r?\n/g, '\r\n'), 'latin1');
  await once(socket, 'close');
  return text;
}
