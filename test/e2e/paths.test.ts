// Every spelling of a path means here what it means to the bridge: random spellings go to a real ASP.NET Core bridge, to
// crossfade before that bridge, and to crossfade without one; each must answer as the bridge does.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { apiKey } from '../support/bridge.ts';
import { randomFrom } from '../support/ledger/random.ts';
import { startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { atPercent, patient, startSidecar } from './sidecar.ts';

const seed = Number(process.env.PATHS_SEED ?? 20_260_101);
const callCount = 500;

const message = { id: 'm', requestId: 'r', content: 'c', createdAt: 't' };
const bodies: Record<string, object> = {
  'chat/typing': { request_id: 'r', user_id: 'u' },
  'chat/message': { request_id: 'r', message },
  'ticket/system-message': { request_id: 'r', type: 't', message },
  'ticket/task-status': { request_id: 'r', status: 's' },
  'notification/send': { user_id: 'u', notification: {} },
  'remote-access/uac-dismissed': { session_id: 's', agent_id: 'a' },
};
const others = ['internal/stats', 'internal/users/u1/online', 'internal/nope', 'internal', 'health', 'nope', ''];

class Random {
  readonly #next = randomFrom(seed);

  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  pick<Item>(items: Item[]): Item {
    return items[this.below(items.length)]!;
  }
}

interface Ask {
  method: string;
  /** A path, or the function of a host that gives the absolute form. */
  target: string | ((host: string) => string);
  headers: Record<string, string>;
  body: object | undefined;
}

/** One way to write a path differently; most still mean the same, some do not. */
const spellings: ((path: string, random: Random) => string)[] = [
  (path) => path,
  (path, random) => insertAtSlash(path, random, '/./'),
  (path, random) => insertAtSlash(path, random, '/x/../'),
  (path, random) => insertAtSlash(path, random, '/../'),
  (path, random) => insertAtSlash(path, random, '/%2e/'),
  (path, random) => insertAtSlash(path, random, '/x/.%2E/'),
  (path, random) => insertAtSlash(path, random, '//'),
  (path, random) => insertAtSlash(path, random, '//../'),
  (path, random) => insertAtSlash(path, random, '/...//../../'),
  (path, random) => insertAtSlash(path, random, '\\'),
  (path, random) => insertAtSlash(path, random, '/.\\'),
  (path, random) => insertAtSlash(path, random, '%2F'),
  (path, random) => insertAtSlash(path, random, '%5c'),
  (path, random) => insertAtSlash(path, random, '/%2e%2f../'),
  (path, random) => replaceLetter(path, random, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  (path, random) => replaceLetter(path, random, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`),
  (path, random) => replaceLetter(path, random, (letter) => `%25${letter.charCodeAt(0).toString(16)}`),
  (path, random) => replaceLetter(path, random, (letter) => letter.toUpperCase()),
  (path) => path.toUpperCase(),
  (path) => path.replace(/k/i, '%E2%84%AA'),
  (path) => path.replace(/s/i, '%c5%bf'),
  (path) => path.replace(/i/i, '%C4%B1'),
  (path) => `${path}/`,
  (path) => `${path}//`,
  (path) => `${path}/.`,
  (path) => `${path}/..`,
  (path) => `${path}/x/..`,
  (path) => `${path}/%2e%2e`,
  (path) => `${path}?a=/../b&%zz`,
  (path) => `${path}%3Fa`,
  (path) => `${path}#a`,
  (path) => `${path};a=1`,
  (path) => `${path}+`,
  (path) => `${path}%20`,
  (path) => `${path}%00`,
  (path) => `${path}%2`,
  (path) => `${path}%`,
  (path) => `${path}%zz`,
  (path) => `${path}%C0%AF`,
  (path) => `${path}/%C0%AE%2e`,
  (path) => `${path}/%e2%2e/..`,
  (path) => `${path}/%C3%A9%80/..`,
  (path) => `${path}/%ed%a0%80/..`,
  (path) => `${path}/%F4%90%80%80/..`,
  (path) => `${path}/%f0%9f%98%80/..`,
];

function insertAtSlash(path: string, random: Random, text: string): string {
  const slashes = [...path.matchAll(/\//g)].map(({ index }) => index);
  const at = random.pick(slashes);
  return path.slice(0, at) + text + path.slice(at + 1);
}

function replaceLetter(path: string, random: Random, replace: (letter: string) => string): string {
  const letters = [...path.matchAll(/[a-z]/gi)].map(({ index }) => index);
  if (letters.length === 0) return path;
  const at = random.pick(letters);
  return path.slice(0, at) + replace(path[at]!) + path.slice(at + 1);
}

function randomAsk(random: Random): Ask {
  const isCall = random.below(3) > 0;
  const name = random.pick(Object.keys(bodies));
  let path = isCall ? `/internal/${name}` : `/${random.pick(others)}`;
  for (let times = random.below(4); times > 0; times--) path = random.pick(spellings)(path, random);
  const key: Record<string, string> =
    random.below(5) > 0 ? { 'x-internal-api-key': random.below(8) > 0 ? apiKey : 'wrong' } : {};
  const method = isCall !== (random.below(8) === 0) ? 'POST' : 'GET';
  const body = method === 'POST' ? { event_id: randomUUID(), ...bodies[name] } : undefined;
  return { method, target: path, headers: { 'content-type': 'application/json', ...key }, body };
}

async function answerTo(agent: Agent, base: string, { method, target, headers, body }: Ask) {
  const { hostname, port, host } = new URL(base);
  const path = typeof target === 'string' ? target : target(host);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request({ hostname, port, method, path, headers, agent }, resolve);
    outgoing.on('error', reject).end(body && JSON.stringify(body));
  });
  // Times, and the counts of `/internal/stats`, are each server's own.
  const content = (await text(answer)).replace(/"timestamp":"[^"]*"/, '').replace(/:\d+/g, ':0');
  return { status: answer.statusCode, allow: answer.headers.allow, body: content };
}

/** Ids are each server's own business: the same call is new to each of them. */
function renewed(ask: Ask): Ask {
  return ask.body === undefined ? ask : { ...ask, body: { ...ask.body, event_id: randomUUID() } };
}

/** @returns what asks each of the three and compares their answers; and the status that they agreed on */
async function startAll(t: TestContext): Promise<(ask: Ask) => Promise<number>> {
  const bridge = await startReferenceBridge(t);
  const redis = await startRedis(t);
  const before = await startSidecar(t, [...patient, '--bridge', bridge.url, '--percent', '100', '--redis', redis.url]);
  await atPercent(before, 100);
  const alone = await startSidecar(t, [...patient, '--redis', (await startRedis(t)).url]);
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  return async (ask) => {
    const expected = await answerTo(agent, bridge.url, ask);
    const target = typeof ask.target === 'string' ? ask.target : ask.target('…');
    const what = `${ask.method} ${target} ${JSON.stringify(ask.headers)}`;
    assert.deepEqual(await answerTo(agent, before.listen, renewed(ask)), expected, `before the bridge: ${what}`);
    assert.deepEqual(await answerTo(agent, alone.listen, renewed(ask)), expected, `without a bridge: ${what}`);
    return expected.status!;
  };
}

test(`every spelling of a path means what it means to the bridge (${callCount} random ones, seed ${seed})`, {
  skip: noDotnet,
}, async (t) => {
  const compare = await startAll(t);
  const random = new Random();
  const statuses = new Map<number, number>();
  for (let i = 0; i < callCount; i++) {
    const status = await compare(randomAsk(random));
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  for (const status of [200, 400, 401, 403, 404, 405]) {
    assert.ok((statuses.get(status) ?? 0) >= 5, `too few answers ${status}: ${JSON.stringify([...statuses])}`);
  }
  for (const path of ['/internal/chat/typing', '/internal/./chat/%74yping?q', '/nope', '']) {
    for (const key of [{ 'x-internal-api-key': apiKey }, {}] as Record<string, string>[]) {
      const headers = { 'content-type': 'application/json', ...key };
      const target = (host: string) => `http://${host}${path}`;
      await compare({ method: 'POST', target, headers, body: { event_id: '', ...bodies['chat/typing'] } });
    }
  }
  assert.equal(await compare({ method: 'OPTIONS', target: '*', headers: {}, body: undefined }), 404);
});
