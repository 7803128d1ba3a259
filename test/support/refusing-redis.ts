// A Redis that answers with an error of our choice: in front of a real one, it passes everything on until it is told to answer
// every command with that error itself. Promises replies in the order of the commands, also across a change.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface RefusingRedis {
  readonly url: string;
  /** From now on every command is answered so, on open connections and new ones. */
  refuse(error: string): void;
  /** ... every command behind those by which a client comes to know its server. */
  refuseBehindGreeting(error: string): void;
  /** From now on new connections are greeted with this error and closed, and open ones are closed. */
  turnAway(error: string): void;
  pass(): void;
}

const greetings = /^(HELLO|AUTH|INFO|CLIENT|SELECT)$/i;

/** @param targetPort of the real one; without it none is needed, and nothing can be passed */
export async function startRefusingRedis(t: TestContext, targetPort?: number): Promise<RefusingRedis> {
  const links = new Set<Link>();
  let error: string | undefined;
  let greeting: string | undefined;
  let passesGreetings = false;

  const listener = createServer((client) => {
    client.on('error', () => {});
    if (greeting !== undefined) return client.end(`-${greeting}\r\n`);
    const link = new Link(client, targetPort, passesGreetings);
    link.answerWith(error);
    links.add(link);
    client.on('close', () => links.delete(link));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => {
    for (const { client } of links) client.destroy();
  };
  t.after(() => {
    cut();
    listener.close();
  });
  const set = (next: string | undefined, passes = false) => {
    greeting = undefined;
    passesGreetings = passes;
    error = next;
    for (const link of links) link.answerWith(next);
  };
  return {
    url: `redis://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    refuse: (next) => set(next),
    refuseBehindGreeting: (next) => set(next, true),
    turnAway(next) {
      greeting = next;
      cut();
    },
    pass: () => set(undefined),
  };
}

class Link {
  readonly client: Socket;
  readonly #server: Socket | undefined;
  #error: string | undefined;
  /** Until its first command of another kind goes to the real one, whatever is refused. */
  #isGreeting: boolean;
  /** What the client has sent and nobody has taken yet. */
  #pending: Buffer = Buffer.alloc(0);
  /** The answer of the real one to our own word, behind everything that it still owed. */
  #awaited: Buffer | undefined;

  constructor(client: Socket, targetPort: number | undefined, passesGreetings: boolean) {
    this.client = client;
    this.#isGreeting = passesGreetings;
    client.setNoDelay(true).on('data', (data: Buffer) => this.#take(data));
    if (targetPort === undefined) return;
    const server = connect(targetPort, '127.0.0.1').setNoDelay(true);
    this.#server = server;
    server.on('data', (data: Buffer) => this.#passBack(data));
    server.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('close', () => server.destroy());
  }

  answerWith(error: string | undefined): void {
    const isFirst = this.#error === undefined && error !== undefined && !this.#isGreeting;
    this.#error = error;
    if (isFirst) this.#awaitOwed();
    this.#take(Buffer.alloc(0));
  }

  #awaitOwed(): void {
    if (this.#server === undefined) return;
    const word = `owed-${Math.random()}`;
    this.#awaited = Buffer.from(`$${word.length}\r\n${word}\r\n`);
    this.#server.write(`*2\r\n$4\r\nECHO\r\n$${word.length}\r\n${word}\r\n`);
  }

  #take(data: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, data]);
    while (this.#awaited === undefined) {
      const end = this.#error === undefined ? this.#pending.length : commandEnd(this.#pending);
      if (end === 0) return;
      const command = this.#pending.subarray(0, end);
      const isGreeting = this.#isGreeting && greetings.test(command.toString('latin1').split('\r\n', 3)[2] ?? '');
      if (this.#error !== undefined && this.#isGreeting && !isGreeting) {
        this.#isGreeting = false;
        this.#awaitOwed();
        continue;
      }
      this.#pending = this.#pending.subarray(end);
      if (this.#error === undefined || isGreeting) this.#server?.write(command);
      else this.client.write(`-${this.#error}\r\n`);
    }
  }

  #passBack(data: Buffer): void {
    const at = this.#awaited === undefined ? -1 : data.indexOf(this.#awaited);
    if (at < 0) {
      this.client.write(data);
      return;
    }
    this.client.write(data.subarray(0, at));
    this.#awaited = undefined;
    this.#take(Buffer.alloc(0));
  }
}

/** Where the first whole command of an array of bulk strings ends; 0 while it is not there. */
function commandEnd(buffer: Buffer): number {
  const lineEnd = (from: number) => buffer.indexOf('\r\n', from);
  const first = lineEnd(0);
  if (first < 0) return 0;
  let at = first + 2;
  for (let left = Number(buffer.toString('latin1', 1, first)); left > 0; left--) {
    const end = lineEnd(at);
    if (end < 0) return 0;
    at = end + 2 + Number(buffer.toString('latin1', at + 1, end)) + 2;
    if (at > buffer.length) return 0;
  }
  return at;
}
