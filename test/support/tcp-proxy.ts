// A TCP proxy in front of a server of a test: it passes everything on until it is told to lose replies, to hold still or
// to cut its connections. Promises to be closed, with all its connections, when the test ends.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

type Mode = 'pass' | 'stall' | 'refuse';

export interface TcpProxy {
  readonly port: number;
  /** Requests go through, replies are lost, on the connections that are open now. New connections work. */
  swallowReplies(): void;
  /** Nothing goes through in either direction, on any connection, until pass(). What came meanwhile then does. */
  stall(): void;
  pass(): void;
  /** Ends every open connection; new ones work. */
  cut(): void;
  /** Ends every open connection and refuses new ones until pass(). */
  refuse(): void;
}

interface Link {
  client: Socket;
  server: Socket;
  swallows: boolean;
}

export async function startProxy(t: TestContext, targetPort: number): Promise<TcpProxy> {
  const links = new Set<Link>();
  let mode: Mode = 'pass';

  const listener = createServer((client) => {
    if (mode === 'refuse') {
      client.destroy();
      return;
    }
    const link: Link = { client, server: connect(targetPort, '127.0.0.1'), swallows: false };
    links.add(link);
    const end = () => {
      links.delete(link);
      client.destroy();
      link.server.destroy();
    };
    for (const socket of [client, link.server]) {
      socket.setNoDelay(true).on('error', end).on('close', end);
      if (mode === 'stall') socket.pause();
    }
    client.on('data', (data) => link.server.write(data));
    link.server.on('data', (data: Buffer) => {
      if (link.swallows) return;
      client.write(data);
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');

  const cut = () => {
    for (const { client, server } of links) {
      client.destroy();
      server.destroy();
    }
  };
  t.after(() => {
    cut();
    listener.close();
  });

  return {
    port: (listener.address() as AddressInfo).port,
    swallowReplies() {
      for (const link of links) link.swallows = true;
    },
    stall() {
      mode = 'stall';
      for (const { client, server } of links) {
        client.pause();
        server.pause();
      }
    },
    pass() {
      mode = 'pass';
      for (const { client, server } of links) {
        client.resume();
        server.resume();
      }
    },
    cut,
    refuse() {
      mode = 'refuse';
      cut();
    },
  };
}
