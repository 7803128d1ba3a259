// The end of another replica at which requests of its clients arrive: a server that does with them what the admin port does. In come its
// name and secret, out go its address and the connections that it has let in. Closed when the test ends.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { acceptPeer, asksForConnection, type Peer } from '../../src/peers/peer-connection.ts';
import { PeerSignature } from '../../src/peers/peer-signature.ts';
import { type Clock, systemClock } from '../../src/telemetry/clock.ts';

export interface Accepting extends Peer {
  /** Why connections were refused. */
  refusals: string[];
  close(): void;
}

export async function startAccepting(
  t: TestContext,
  instance: string,
  { secret, clock = systemClock, take }: { secret?: string; clock?: Clock; take(socket: Socket): void },
): Promise<Accepting> {
  const signature = new PeerSignature({ instance, secret, clock });
  const refusals: string[] = [];
  const server = createServer({ shouldUpgradeCallback: asksForConnection }, (_, response) =>
    response.writeHead(404).end(),
  );
  const sockets = new Set<Socket>();
  server.on('upgrade', (request) => {
    const { socket } = request;
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    try {
      take(acceptPeer(request, signature, { instance, admin }));
    } catch (error) {
      refusals.push((error as Error).message);
      socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () => {
    server.close();
    server.closeAllConnections();
    for (const socket of sockets) socket.destroy();
  };
  t.after(close);
  return { instance, admin, refusals, close };
}
