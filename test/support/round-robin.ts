// A front before several servers that knows no affinity: each TCP connection goes to the next of them in turn.
// In come their URLs; out goes the front's own. Promises to pass bytes, half-closes and abrupt losses on as they are, and
// to be gone with the test. A server that refuses its turn refuses the client.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
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
