// A front before several servers that knows no affinity: each TCP connection goes to the next of them in turn.
// In come their URLs; out goes the front's own. Promises to pass bytes, half-closes and abrupt losses on as they are, and
// to be gone with the test. A server that refuses its turn refuses the client.

import { once } from 'node:events';
import { Agent, createServer as createHttpServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import type { TestContext } from 'node:test';

export interface RoundRobin {
  /** `http://host:port` */
  readonly url: string;
  /** How many connections each server has been given, in the order of the servers. */
  readonly given: number[];
}

export async function startRoundRobin(t: TestContext, serverUrls: string[]): Promise<RoundRobin> {
  const sockets = new Set<Socket>();
  const given = serverUrls.map(() => 0);
  let turn = 0;

  const keep = (socket: Socket, other: Socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on('error', () => other.resetAndDestroy()).on('close', () => sockets.delete(socket));
  };
  const listener = createServer({ allowHalfOpen: true }, (client) => {
    const place = turn++ % serverUrls.length;
    given[place]! += 1;
    const { hostname, port } = new URL(serverUrls[place]!);
    const server = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    keep(client, server);
    keep(server, client);
    client.pipe(server);
    server.pipe(client);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return { url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`, given };
}

export interface RequestRoundRobin {
  /** `http://host:port` */
  readonly url: string;
  /** Sends nothing more to this server, as a balancer does whose probes fail. */
  without(serverUrl: string): void;
}

/**
 * The same for each request: those of one connection go to the servers in turn too, as behind a reverse proxy. A WebSocket stays where
 * its handshake has gone; who breaks off on one side breaks off the other.
 */
export async function startRequestRoundRobin(t: TestContext, serverUrls: string[]): Promise<RequestRoundRobin> {
  let servers = [...serverUrls];
  let turn = 0;
  const agent = new Agent({ keepAlive: true });
  const next = ({ url, method, rawHeaders }: IncomingMessage) => {
    const server = new URL(servers[turn++ % servers.length]!);
    return request({
      host: server.hostname,
      port: server.port,
      path: url!,
      method: method!,
      headers: rawHeaders,
      agent,
    });
  };
  const front = createHttpServer((incoming, response) => {
    const outgoing = next(incoming);
    outgoing.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    outgoing.on('response', (answer) => {
      response.sendDate = false;
      response.writeHead(answer.statusCode!, answer.statusMessage, withoutConnection(answer.rawHeaders));
      response.flushHeaders();
      pipeline(answer, response, () => {});
    });
    response.on('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  front.on('upgrade', (incoming, client: Socket, head) => {
    client.on('error', () => client.destroy());
    const outgoing = next(incoming);
    outgoing.on('error', () => client.destroy());
    outgoing.on('response', (answer) => {
      client.write(headOf(answer, ['Connection', 'close', ...withoutConnection(answer.rawHeaders)]));
      answer.pipe(client);
    });
    outgoing.on('upgrade', (answer, server, rest) => {
      client.write(headOf(answer, answer.rawHeaders));
      client.write(rest);
      server.write(head);
      server.on('error', () => client.destroy()).on('close', () => client.destroy());
      client.on('close', () => server.destroy());
      client.pipe(server).pipe(client);
    });
    outgoing.end();
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  t.after(() => {
    front.close();
    front.closeAllConnections();
    agent.destroy();
  });
  return {
    url: `http://127.0.0.1:${(front.address() as AddressInfo).port}`,
    without(serverUrl) {
      servers = servers.filter((each) => each !== serverUrl);
    },
  };
}

function withoutConnection(rawHeaders: string[]): string[] {
  const drops = /^(connection|keep-alive|transfer-encoding)$/i;
  return rawHeaders.filter((_, i) => !drops.test(rawHeaders[i - (i % 2)]!));
}

function headOf({ statusCode, statusMessage }: IncomingMessage, headers: string[]): string {
  const lines = headers.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${headers[i + 1]}`] : []));
  return `HTTP/1.1 ${statusCode} ${statusMessage}\r\n${lines.join('\r\n')}\r\n\r\n`;
}
