// The edge's fuzzer: clients of every transport and both protocols, right and nearly right, over raw sockets. `<<name>>` in an
// input stands for a token, or for the id that the client has negotiated: so an input can be repeated in another process.

import fc from 'fast-check';
import { jwtSecret } from '../support/bridge.ts';
import { makeToken } from '../support/signalr.ts';
import { hubNames } from './contract-text.ts';
import { exchangeOf, requestText, spelling } from './http.ts';
import { onWire } from './json.ts';
import { frame, handshake, type Protocol, records } from './records.ts';
import { target } from './target.ts';
import { type Exchange, exchange } from './wire.ts';
import type { Mood, World } from './world.ts';

/** Claims by the token's name; all but `forged` are signed with the right secret. */
const claims: Record<string, Record<string, unknown>> = {
  u0: { sub: 'u0' },
  u1: { sub: 'u1' },
  u2: { sub: 'u2' },
  forged: { sub: 'u0' },
  expired: { sub: 'u0', exp: 1 },
  early: { sub: 'u0', nbf: 99_999_999_999 },
  oddNbf: { sub: 'u0', nbf: 'soon' },
  oddExp: { sub: 'u0', exp: 'never' },
  hugeExp: { sub: 'u0', exp: 1e300 },
  hugeNbf: { sub: 'u0', nbf: 1e300 },
  noSub: {},
  oddSub: { sub: ['u0'] },
  longSub: { sub: 'u'.repeat(3_000) },
};
const tokens = Promise.all(
  Object.entries(claims).map(async ([name, claim]) => {
    const secret = name === 'forged' ? jwtSecret.toUpperCase() : jwtSecret;
    return [name, await makeToken(claim as Record<string, never>, secret)] as const;
  }),
);

const tokenNames = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('<<u0>>', '<<u1>>', '<<u2>>') },
  { weight: 2, arbitrary: fc.constantFrom(...Object.keys(claims).map((name) => `<<${name}>>`)) },
  { weight: 1, arbitrary: fc.constantFrom('', 'garbage', 'a.b.c', 'x'.repeat(9_000)) },
);
const hubs = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...hubNames) },
  { weight: 1, arbitrary: fc.constantFrom('nothing', 'CHAT', '', '__proto__', 'chat/more', '%63hat') },
);
/** Where the token stands, and whether there is an id. */
const queries = fc.oneof(
  { weight: 10, arbitrary: fc.constant('id=<<id>>') },
  { weight: 4, arbitrary: fc.constant('id=<<id>>&access_token=<<u1>>') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '',
      'id=',
      'id=nothing',
      'id=<<id>>&id=<<id>>',
      'ID=<<id>>',
      'id=<<id>>&access_token=<<forged>>',
      'id=<<id>>&sessionId=s1',
      `id=<<id>>&${'a=b&'.repeat(4_000)}`,
      'id=%',
      'id=__proto__',
    ),
  },
);

const upgradeLines = [
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];
const upgrades = fc.oneof(
  { weight: 12, arbitrary: fc.constant(upgradeLines) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(1, 2, 3, 4).map((without) => upgradeLines.filter((_, index) => index !== without - 1)),
  },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom(
        'Sec-WebSocket-Protocol: a,a',
        'Sec-WebSocket-Protocol: ,',
        'Sec-WebSocket-Extensions: permessage-deflate',
        'Sec-WebSocket-Extensions: ;;',
        'Sec-WebSocket-Key: short',
        'Sec-WebSocket-Version: 8',
        'Upgrade: h2c',
        'Origin: http://evil',
        'Transfer-Encoding: chunked',
        'Content-Length: 3',
        'Content-Length: 0',
      )
      .map((line) => [...upgradeLines, line]),
  },
);

interface Place {
  hub: string;
  token: string;
  protocol: Protocol;
}

const authorization = (token: string) => (token === '' ? [] : [`Authorization: Bearer ${token}`]);

function upgradeText({ hub, token }: Place): fc.Arbitrary<string> {
  const target = queries.map((query) => `/hubs/${hub}?${query}`);
  const line = fc.tuple(target, upgrades).map(([path, lines]) => {
    return [`GET ${path} HTTP/1.1`, 'Host: x', ...authorization(token), ...lines].join('\r\n');
  });
  return line.map((text) => `${text}\r\n\r\n`);
}

/** An upgrade and what follows it on the same connection: frames, mostly. */
function webSocket(place: Place): fc.Arbitrary<string[]> {
  const { protocol } = place;
  const frames = fc.array(frame(records(protocol), protocol), { maxLength: 4 });
  return fc
    .tuple(
      request(place, 'GET'),
      fc.integer({ min: 0, max: 14 }),
      upgradeText(place),
      frame(handshake(protocol), protocol),
      frames,
    )
    .map(([before, chance, upgrade, first, more]) => [...(chance === 0 ? [before] : []), upgrade, first, ...more]);
}

/** A plain request to a hub, with records as its body where it is a POST. */
function request(
  { hub, token, protocol }: Place,
  method: string,
  more: string[] = [],
  action = '',
): fc.Arbitrary<string> {
  const path = queries.map((query) => `/hubs/${hub}${action}?${query}`);
  const bodies = fc
    .tuple(handshake(protocol), fc.array(records(protocol), { maxLength: 2 }))
    .map((all) => all.flat().join(''));
  return requestText({
    method: fc.constant(method),
    target: spelling(path),
    headers: fc.constant([...authorization(token), ...more]),
    body: method === 'POST' ? fc.oneof(bodies, records(protocol)) : fc.constant(''),
  });
}

/** Polls, posts and event streams of one connection, at the same time or one after the other. */
function requests(place: Place): fc.Arbitrary<Exchange[]> {
  const texts = [
    request(place, 'GET'),
    request(place, 'GET'),
    request(place, 'GET', ['Accept: text/event-stream']),
    request(place, 'POST'),
    request(place, 'POST'),
    request(place, 'POST', [], '/refresh'),
    request(place, 'DELETE'),
    request(place, 'OPTIONS', ['Origin: http://localhost:3010', 'Access-Control-Request-Method: POST']),
  ];
  return fc.array(exchangeOf(fc.oneof(...texts).map((text) => [text])), { minLength: 1, maxLength: 5 });
}

const otherPaths = requestText({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'ODD'),
  target: spelling(
    fc.constantFrom('/hubs/chat/negotiate', '/hubs', '/internal/chat/message', '/health', '/metrics', '/hubs/chat'),
  ),
  headers: tokenNames.map(authorization),
  body: fc.string({ maxLength: 20 }).map(onWire),
});

interface Client extends Place {
  negotiates: boolean;
  exchanges: Exchange[];
  /** Between the begins of two exchanges. */
  staggerMs: number;
}

const clients = fc
  .record({ hub: hubs, token: tokenNames, protocol: fc.constantFrom<Protocol>('json', 'json', 'messagepack') })
  .chain((place) =>
    fc.record({
      ...(Object.fromEntries(Object.entries(place).map(([key, value]) => [key, fc.constant(value)])) as {
        [Key in keyof Place]: fc.Arbitrary<Place[Key]>;
      }),
      negotiates: fc.constantFrom(true, true, true, false),
      staggerMs: fc.constantFrom(0, 1, 5, 30),
      exchanges: fc.oneof(
        { weight: 5, arbitrary: fc.array(exchangeOf(webSocket(place)), { minLength: 1, maxLength: 2 }) },
        { weight: 4, arbitrary: requests(place) },
        {
          weight: 1,
          arbitrary: fc.array(exchangeOf(otherPaths.map((text) => [text])), { minLength: 1, maxLength: 3 }),
        },
      ),
    }),
  );

const crowd = fc.array(clients, { minLength: 1, maxLength: 16, size: 'max' });
const moods = fc.constantFrom<Mood>('up', 'down', 'hang', 'reset', 'fail', 'slow');

export const edge = target('edge', fc.record({ mood: fc.constant<Mood>('up'), clients: crowd }), play);

/** The same while the bridge comes and goes. */
export const edgeAtMoods = target('edge at moods', fc.record({ mood: moods, clients: crowd }), play);

async function play({ mood, clients: all }: { mood: Mood; clients: Client[] }, world: World): Promise<void> {
  const known = new Map<string, string>(await tokens);
  await world.inMood(mood, () => Promise.all(all.map((client) => playClient(client, world.ports.edge, known))));
}

async function playClient(client: Client, port: number, known: Map<string, string>): Promise<void> {
  const { hub, token, negotiates, exchanges, staggerMs } = client;
  const named = new Map(known).set('id', 'never-negotiated');
  const fill = (text: string) => text.replace(/<<(\w+)>>/g, (whole, name) => named.get(name) ?? whole);
  if (negotiates) {
    const head = [`POST /hubs/${hub}/negotiate?negotiateVersion=1 HTTP/1.1`, 'Host: x', ...authorization(token)];
    const ask = `${head.join('\r\n')}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
    const reply = await exchange(port, { pieces: [fill(ask)], pauseMs: 0, leave: 'wait' });
    const id = /"connectionToken":"([^"]+)"/.exec(reply)?.[1];
    if (id !== undefined) named.set('id', id);
  }
  await Promise.all(
    exchanges.map(async (one, index) => {
      await new Promise((resolve) => setTimeout(resolve, index * staggerMs));
      await exchange(port, { ...one, pieces: one.pieces.map(fill) });
    }),
  );
}
