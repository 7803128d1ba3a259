// A bridge that is away in one way or another: in comes HTTP on a plain TCP port, out comes what the way says. A request
// is taken for complete when its head has come. Promises that the port stays the same over `down`, and to be closed,
// with all its connections, when the test ends.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

const broadcast = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{"broadcast":true}';
const head = broadcast.slice(0, broadcast.indexOf('{'));

/** What each way does with a request that has come. */
const ways = {
  answers: (socket: Socket) => socket.write(broadcast),
  hangs: () => {},
  'resets at once': (socket: Socket) => socket.resetAndDestroy(),
  'closes at once': (socket: Socket) => socket.end(),
  'closes after the headers': (socket: Socket) => socket.end(head),
  'closes in the middle of its answer': (socket: Socket) => socket.end(broadcast.slice(0, -6)),
  'closes in the middle of a chunked answer': (socket: Socket) =>
    socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n{"broad'),
  'resets in the middle of its answer': (socket: Socket) =>
    socket.write(broadcast.slice(0, -6), () => socket.resetAndDestroy()),
  'hangs after the headers': (socket: Socket) => socket.write(head),
  'answers with 500': (socket: Socket) => socket.write('HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n'),
  'answers with 503 and closes': (socket: Socket) =>
    socket.end('HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy'),
  'answers with what is no HTTP': (socket: Socket) => socket.write('220 mail.example ESMTP\r\n'),
  'answers with a header that is none': (socket: Socket) =>
    socket.write('HTTP/1.1 200 OK\r\nX-Odd: a\x01b\r\nContent-Length: 0\r\n\r\n'),
  'answers slowly': (socket: Socket) => {
    socket.write(head);
    setTimeout(() => socket.write(broadcast.slice(head.length)), 300).unref();
  },
} satisfies Record<string, (socket: Socket) => void>;

export type Way = keyof typeof ways;

export class AwayBridge {
  way: Way = 'answers';
  /** Requests that have come. */
  requests = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor() {
    this.#server = createServer((socket) => this.#onConnection(socket));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async up(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Connections are refused, until up(). */
  async down(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #onConnection(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      for (const _ of data.toString('latin1').matchAll(/ HTTP\/1\.1\r\n/g)) {
        this.requests++;
        ways[this.way](socket);
      }
    });
  }
}

export async function startAwayBridge(t: TestContext): Promise<AwayBridge> {
  const bridge = new AwayBridge();
  await bridge.up();
  t.after(() => bridge.down());
  return bridge;
}
