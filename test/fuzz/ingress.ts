// The ingress' fuzzer: backend's calls, right and nearly right, over raw sockets; with a bridge also while that is in a mood.

import fc from 'fast-check';
import { apiKey } from '../support/bridge.ts';
import { calls, types } from './contract-text.ts';
import { exchangeOf, requestText, spelling } from './http.ts';
import { nearly, objectOf, onWire } from './json.ts';
import { target } from './target.ts';
import { type Exchange, exchange } from './wire.ts';
import type { Mood, World } from './world.ts';

const keys = fc.oneof(
  { weight: 12, arbitrary: fc.constant([`X-Internal-Api-Key: ${apiKey}`]) },
  { weight: 1, arbitrary: fc.constantFrom([], ['X-Internal-Api-Key: '], ['X-Internal-Api-Key: wrong']) },
  { weight: 1, arbitrary: fc.constant([`X-Internal-Api-Key: ${apiKey}`, 'X-Internal-Api-Key: wrong']) },
);
const mediaTypes = fc.oneof(
  { weight: 12, arbitrary: fc.constant(['Content-Type: application/json']) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      [],
      ['Content-Type: text/plain'],
      ['Content-Type: application/json; charset=utf-16'],
      ['Content-Type: application/json; charset="'],
      ['Content-Type: application/x+json;;'],
    ),
  },
);
const headers = fc.tuple(keys, mediaTypes).map((lines) => lines.flat());
const methods = fc.oneof(
  { weight: 12, arbitrary: fc.constant('POST') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'GET',
      'PUT',
      'DELETE',
      'PATCH',
      'HEAD',
      'OPTIONS',
      'TRACE',
      'CONNECT',
      'PRI',
      'post',
      'ODD',
    ),
  },
);

/** A call of the contract. */
const known = fc.constantFrom(...calls).chain(({ path, body }) =>
  requestText({
    method: methods,
    target: spelling(fc.constant(`/internal/${path}`)),
    headers,
    body: nearly(objectOf(body, types)).map(onWire),
  }),
);
/** What only the bridge knows, and reads. */
const around = requestText({
  method: fc.constantFrom('GET', 'GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'ODD'),
  target: spelling(
    fc.constantFrom(
      '/internal/remote-access/control-changed',
      '/internal/stats',
      '/internal/users/u1/online',
      '/internal/users/%00/online',
      '/internal/users/%ff/online',
      '/internal/users/__proto__/online',
      '/internal/nothing',
      '/internal',
      '/health',
      '/hubs/chat/negotiate',
      '/swagger',
      '/',
      '*',
    ),
  ),
  headers,
  body: fc.oneof(fc.constant(''), fc.string({ maxLength: 50 }).map(onWire), fc.constant('x'.repeat(200_000))),
});
const garbage = fc.oneof(
  fc.constantFrom('\r\n\r\n', '\u0000', '\u0016\u0003\u0001\u0002\u0000\u0001', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  fc.string({ unit: 'binary', maxLength: 60 }).map(onWire),
);

const texts = fc.oneof(known, known, known, around, around, garbage);
const exchanges = exchangeOf(fc.array(texts, { minLength: 1, maxLength: 4 }));

const clients = fc.array(exchanges, { minLength: 1, maxLength: 16, size: 'max' });
const moods = fc.constantFrom<Mood>('up', 'down', 'hang', 'reset', 'fail', 'slow');

export const ingress = target('ingress', fc.record({ mood: fc.constant<Mood>('up'), clients }), play);

/** The same while the bridge is down, hangs, breaks connections, fails or is slow. */
export const ingressAtMoods = target('ingress at moods', fc.record({ mood: moods, clients }), play);

async function play({ mood, clients }: { mood: Mood; clients: Exchange[] }, world: World): Promise<void> {
  await world.inMood(mood, () => Promise.all(clients.map((client) => exchange(world.ports.listen, client))));
}
