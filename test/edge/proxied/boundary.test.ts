// What goes wrong inside one proxied connection, on each transport and from each side: it ends that connection alone, is
// counted, and leaves nothing behind.

import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { until } from '../../support/wait.ts';
import { type Asked, openWebSocket, startScriptedBridge } from './scripted-bridge.ts';
import { type ProxiedEdge, startProxiedEdge, type TestTap } from './setup.ts';

interface Connected extends ProxiedEdge {
  /** Of the connection that goes wrong. */
  tap: TestTap;
  bridgeSays(): void;
  clientSays(): void;
  /** Whether it has ended on both sides. */
  isOver(): boolean;
}

const fault = () => {
  throw new Error('fault');
};

async function faultsOf({ metrics }: ProxiedEdge, where: string): Promise<number> {
  const { values } = await metrics.faults.get();
  return values.find(({ labels }) => labels.where === where)!.value;
}

/** A GET whose answer is read as it comes. */
function openGet(t: TestContext, url: string) {
  const got: { answer: IncomingMessage | undefined; over: boolean } = { answer: undefined, over: false };
  const outgoing = request(url, { agent: false });
  outgoing.on('error', () => {
    got.over = true;
  });
  outgoing.on('response', (answer) => {
    got.answer = answer;
    answer
      .on('error', () => {})
      .on('close', () => {
        got.over = true;
      })
      .resume();
  });
  outgoing.end();
  t.after(() => outgoing.destroy());
  return got;
}

function postTo(url: string): void {
  fetch(url, { method: 'POST', body: 'said' }).then(
    (answer) => answer.text(),
    () => {},
  );
}

const transports: Record<string, (t: TestContext) => Promise<Connected>> = {
  async WebSockets(t) {
    const bridge = await startScriptedBridge(t);
    const edge = await startProxiedEdge(t, [bridge.url]);
    const client = await openWebSocket(t, edge.url, '/hubs/chat?id=x');
    const [atBridge] = bridge.sockets;
    return {
      ...edge,
      tap: edge.taps[0]!,
      bridgeSays: () => atBridge!.socket.send('said'),
      clientSays: () => client.socket.send('said'),
      isOver: () => client.closed?.code === 1006 && atBridge!.socket.readyState === atBridge!.socket.CLOSED,
    };
  },

  async 'server-sent events'(t) {
    const answer = ({ request: { method }, response }: Asked) => {
      if (method !== 'GET') return response.writeHead(200).end();
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      return response.write(':\r\n');
    };
    const bridge = await startScriptedBridge(t, { answer });
    const edge = await startProxiedEdge(t, [bridge.url]);
    const hub = `${edge.url}/hubs/chat?id=x`;
    const stream = openGet(t, hub);
    await until(() => stream.answer);
    const { response } = bridge.asked[0]!;
    return {
      ...edge,
      tap: edge.taps[0]!,
      bridgeSays: () => response.write('data: said\r\n\r\n'),
      clientSays: () => postTo(hub),
      isOver: () => stream.over && response.destroyed,
    };
  },

  async 'long polling'(t) {
    const answer = ({ request: { method }, response }: Asked) => {
      const isOpening = bridge.asked.length === 1;
      if (isOpening || method !== 'GET') response.writeHead(200, { 'Content-Type': 'application/octet-stream' }).end();
    };
    const bridge = await startScriptedBridge(t, { answer });
    const edge = await startProxiedEdge(t, [bridge.url]);
    const hub = `${edge.url}/hubs/chat?id=x`;
    const first = openGet(t, hub);
    await until(() => first.over);
    const poll = openGet(t, hub);
    await until(() => bridge.asked.length === 2);
    const { response } = bridge.asked[1]!;
    return {
      ...edge,
      tap: edge.taps[0]!,
      bridgeSays: () => response.writeHead(200, { 'Content-Type': 'application/octet-stream' }).end('said'),
      clientSays: () => postTo(hub),
      isOver: () => poll.over,
    };
  },
};

for (const [name, connect] of Object.entries(transports)) {
  test(`${name}: a fault over what the bridge says ends that connection alone`, async (t) => {
    const connected = await connect(t);
    const { tap, bridgeSays, isOver } = connected;
    tap.cutting = fault;
    bridgeSays();
    await until(() => isOver() && tap.ends === 1);
    // A poll's answer belongs to a request, which answers for it.
    if (name !== 'long polling') assert.equal(await faultsOf(connected, 'bridge'), 1);
  });

  test(`${name}: a fault over the end of a connection does not keep it from being forgotten`, async (t) => {
    const connected = await connect(t);
    const { tap, closeClients } = connected;
    tap.ended = fault;
    tap.leg.cut();
    await until(async () => (await faultsOf(connected, 'client')) === 1);
    // Would wait for those that it still knows.
    await closeClients();
  });
}

test('a fault over what a client says ends its WebSocket alone', async (t) => {
  const connected = await transports.WebSockets!(t);
  const { tap, clientSays, isOver, url } = connected;
  const other = await openWebSocket(t, url, '/hubs/chat?id=y');
  tap.fromClient = fault;
  clientSays();
  await until(() => isOver() && tap.ends === 1);
  assert.equal(await faultsOf(connected, 'client'), 1);
  assert.equal(other.closed, undefined);
});

for (const transport of ['server-sent events', 'long polling']) {
  test(`${transport}: a fault over what a client posts ends that request`, async (t) => {
    const { tap, closeClients, url } = await transports[transport]!(t);
    tap.fromClient = fault;
    const answer = await fetch(`${url}/hubs/chat?id=x`, { method: 'POST', body: 'said' });
    assert.equal(answer.status, 502);
    await closeClients();
  });
}

test('a fault over what is waited for ends that connection alone', async (t) => {
  const connected = await transports.WebSockets!(t);
  const { tap, bridgeSays, isOver } = connected;
  tap.untilReady = async () => fault();
  bridgeSays();
  await until(() => isOver());
  assert.equal(await faultsOf(connected, 'bridge'), 1);
});

test('an answer to a dial that cannot be passed on ends the client that it is for', async (t) => {
  const bridge = await startScriptedBridge(t, {
    refuse: (_, socket) => socket.write('HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n'),
  });
  const edge = await startProxiedEdge(t, [bridge.url]);
  await assert.rejects(openWebSocket(t, edge.url, '/hubs/chat'));
  assert.equal(await faultsOf(edge, 'bridge'), 1);
});
