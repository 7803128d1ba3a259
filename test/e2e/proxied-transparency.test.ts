// Direct against proxied, on the real bridge: the same requests and frames, once to the bridge and once through the edge,
// must be answered alike, byte for byte, but for ids and dates, and for the tag in front of a token where there are other replicas.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { RelayPeers } from '../../src/edge/relay/relay.ts';
import { PeerSignature } from '../../src/peers/peer-signature.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { exchange, openWebSocket } from '../edge/proxied/scripted-bridge.ts';
import { startProxiedEdge } from '../edge/proxied/setup.ts';
import { allowedOrigin, jwtSecret } from '../support/bridge.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

const origin = `Origin: ${allowedOrigin}`;
const webSocket = [
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Extensions: permessage-deflate',
];

/** Request line and headers; `{bearer}` is a good token's header, `{id}` a fresh connection's. */
const requests: string[][] = [
  ['POST /hubs/chat/negotiate?negotiateVersion=1', '{bearer}', origin, 'Content-Length: 0'],
  ['POST /hubs/chat/negotiate', '{bearer}', 'Content-Length: 0'],
  ['POST /HUBS/Chat/Negotiate/?negotiateVersion=2', '{bearer}', 'Content-Length: 0'],
  ['POST /hubs/chat/negotiate?negotiateVersion=x', '{bearer}', 'Content-Length: 0'],
  ['POST /hubs/chat/negotiate?negotiateVersion=1', origin, 'Content-Length: 0'],
  ['POST /hubs/chat/negotiate', 'Authorization: Bearer rubbish', 'Content-Length: 0'],
  ['GET /hubs/chat/negotiate', '{bearer}'],
  [
    'OPTIONS /hubs/chat/negotiate',
    origin,
    'Access-Control-Request-Method: POST',
    'Access-Control-Request-Headers: x-a,x-b',
  ],
  ['OPTIONS /hubs/chat', 'Origin: https://evil.example', 'Access-Control-Request-Method: POST'],
  ['GET /hubs/chat', '{bearer}', origin],
  ['GET /hubs/chat?id=unknown', '{bearer}', origin],
  ['GET /hubs/chat?id=unknown', '{bearer}', 'Accept: text/event-stream'],
  ['POST /hubs/chat?id=unknown', '{bearer}', 'Content-Length: 0'],
  ['DELETE /hubs/chat?id=unknown', '{bearer}'],
  ['PUT /hubs/chat?id=unknown', '{bearer}', 'Content-Length: 0'],
  ['GET /hubs/nope', '{bearer}'],
  ['POST /hubs/nope/negotiate', '{bearer}', 'Content-Length: 0'],
  ['HEAD /hubs/chat', '{bearer}'],
  ['GET /hubs/chat?id={id}', '{bearer}', origin],
  ['POST /hubs/chat?id={id}', '{bearer}', origin, 'Content-Length: 0'],
  ['DELETE /hubs/chat?id={id}', '{bearer}', origin],
  ['GET /hubs/chat?id=unknown', '{bearer}', ...webSocket],
  ['GET /hubs/chat', ...webSocket],
  ['GET /hubs/chat?access_token=rubbish', ...webSocket],
  ['GET /hubs/nope', '{bearer}', ...webSocket],
  ['GET /hubs/chat', '{bearer}', ...webSocket.slice(0, 2)],
  ['GET /hubs/chat', '{bearer}', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'],
  ['GET /hubs/chat/negotiate', '{bearer}', ...webSocket],
];

/** A replica that gives out tags, and finds no other one. */
const others: RelayPeers = {
  peers: {
    tag: 'aaaaaaaa',
    allRelay: true,
    find: async () => undefined,
    refresh: async () => [],
    ask: async () => ({ answers: [], notReached: [] }),
  },
  signature: new PeerSignature({ instance: 'a', secret: undefined, clock: systemClock }),
};
const tag = /(?<="connection(?:Token|Id)":")aaaaaaaa~[\w-]{8}~/;

async function started(t: TestContext) {
  const { url: direct } = await startReferenceBridge(t);
  const { url: proxied } = await startProxiedEdge(t, [direct]);
  const { url: tagging } = await startProxiedEdge(t, [direct], { others });
  return { urls: [direct, proxied, tagging], token: await makeToken({ sub: 'u1' }, jwtSecret) };
}

test('direct and proxied, the real bridge is the same', { skip: noDotnet }, async (t) => {
  const { urls, token } = await started(t);
  assert.match(await negotiate(urls[2]!, token), /^aaaaaaaa~[\w-]{8}~/);
  for (const [line = '', ...headers] of requests) {
    await t.test([line, ...headers].join(' | '), async (t) => {
      const answers = await Promise.all(urls.map((url) => ask(t, url, token, line, headers)));
      assert.deepEqual(answers[1], answers[0]);
      assert.deepEqual(answers[2], answers[0], 'with tags');
    });
  }
  for (const [name, said] of Object.entries(dialogues)) {
    await t.test(name, async (t) => {
      const seen = await Promise.all(urls.map((url) => talk(t, url, token, said)));
      assert.deepEqual(seen[1], seen[0]);
      assert.deepEqual(seen[2], seen[0], 'with tags');
    });
  }
});

async function ask(t: TestContext, url: string, token: string, line: string, headers: string[]): Promise<object> {
  const id = line.includes('{id}') ? await negotiate(url, token) : '';
  const connection = headers.some((header) => header.startsWith('Upgrade')) ? 'Upgrade, close' : 'close';
  const filled = headers.map((header) => header.replace('{bearer}', `Authorization: Bearer ${token}`));
  const head = [`${line.replace('{id}', id)} HTTP/1.1`, 'Host: x', `Connection: ${connection}`, ...filled];
  return comparable(await exchange(t, url, `${head.join('\n')}\n\n`));
}

/** Says one message after the other, each when every record of the one before has been answered; what came of it, and how it ended. */
async function talk(t: TestContext, url: string, token: string, said: (string | number)[]): Promise<object> {
  const client = await openWebSocket(t, url, `/hubs/chat?access_token=${token}`);
  const received = () => recordsOf(client.messages.map(({ data }) => data).join(''));
  for (const step of said) {
    const before = received().length;
    if (typeof step === 'number') client.socket.close(step);
    else client.socket.send(step);
    const asked = typeof step === 'number' ? 1 : recordsOf(step).length;
    await until(() => received().length >= before + asked || client.closed, { what: `an answer to ${step}` });
  }
  if (!client.closed) client.socket.close(1000);
  await until(() => client.closed);
  return {
    records: received(),
    binary: client.messages.some(({ binary }) => binary),
    closed: client.closed,
  };
}

/** All but the end, which nothing has ended. */
function recordsOf(text: string): string[] {
  return text.split('\x1e').slice(0, -1);
}

async function negotiate(url: string, token: string): Promise<string> {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${url}/hubs/chat/negotiate?negotiateVersion=1`, { method: 'POST', headers });
  return ((await answer.json()) as { connectionToken: string }).connectionToken;
}

/** An answer's parts; how its body is cut into chunks and whether the connection stays is each hop's own affair. */
function comparable(answer: string): object {
  const [written = '', body = ''] = answer.split('\r\n\r\n', 2) as [string, string?];
  const tagLength = tag.exec(body)?.[0].length ?? 0;
  const head = written.replace(/(?<=^Content-Length: )\d+/im, (length) => String(Number(length) - tagLength));
  const [status, ...headers] = head.split('\r\n');
  const kept = headers.filter((header) => !/^(date|connection|keep-alive|transfer-encoding):/i.test(header));
  return {
    status,
    headers: kept.sort(),
    body: body.replace(tag, '').replace(/"connection(Id|Token)":"[\w-]{22}"/g, '"connection$1":"…"'),
  };
}

const handshake = '{"protocol":"json","version":1}\x1e';
/** What a client sends, one message each; a number closes with that code. */
const dialogues: Record<string, (string | number)[]> = {
  'a join, and a close by the protocol': [
    handshake,
    '{"type":1,"invocationId":"0","target":"JoinRoom","arguments":["r"]}\x1e',
    '{"type":7}\x1e',
  ],
  'a close frame': [handshake, 1000],
  'a close frame of its own kind': [handshake, 4000],
  'a broken record': [handshake, 'broken\x1e'],
  'a record over the limit': [handshake, `${'x'.repeat(1_100_000)}\x1e`],
  'a protocol that is not there': ['{"protocol":"messagepack","version":1}\x1e'],
  'rubbish for a handshake': ['rubbish\x1e'],
  'several records in one message': [
    `${handshake}${['1', '2', '3'].map((id) => `{"type":1,"invocationId":"${id}","target":"Nope","arguments":[]}\x1e`).join('')}`,
    1000,
  ],
};
