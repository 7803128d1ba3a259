// Long polling through the proxied edge, poll by poll, against a bridge that the tests script, with time in their hand.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { TestClock } from '../../support/clock.ts';
import { until } from '../../support/wait.ts';
import { type Asked, type ScriptedBridge, startScriptedBridge } from './scripted-bridge.ts';
import { startProxiedEdge } from './setup.ts';

interface Poll {
  /** Resolves when its last byte has been sent. */
  sent: Promise<unknown>;
  abort(): void;
  /** Once it has come as a whole. */
  answer: { status: number; body: string; headers: IncomingMessage['headers'] } | undefined;
  broken: boolean;
}

let polls = 0;

function startPoll(t: TestContext, hub: string): Poll {
  const outgoing = request(`${hub}&_=${++polls}`, {
    agent: false,
    headers: { origin: 'https://a', 'accept-encoding': 'gzip' },
  });
  const sent = once(outgoing, 'finish');
  const poll: Poll = { sent, abort: () => outgoing.destroy(), answer: undefined, broken: false };
  outgoing.on('response', async (response) => {
    const body = await text(response).catch(() => undefined);
    if (body === undefined) poll.broken = true;
    else poll.answer = { status: response.statusCode!, body, headers: response.headers };
  });
  outgoing.on('error', () => {
    poll.broken = true;
  });
  outgoing.end();
  t.after(poll.abort);
  return poll;
}

const never = { 'Cache-Control': 'no-cache, no-store', Expires: 'Thu, 01 Jan 1970 00:00:00 GMT' };
const cors = { 'Access-Control-Allow-Origin': 'https://a', Vary: 'Origin' };

function give({ response }: Asked, body: string, type = 'application/octet-stream'): void {
  response
    .writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...never, ...cors })
    .end(body);
}

function end({ response }: Asked, status: number): void {
  response.writeHead(status, { 'Content-Type': 'text/plain', ...never }).end();
}

/** A connection whose first poll has been answered; the polls at the bridge wait for the test. */
async function connected(t: TestContext) {
  const clock = new TestClock();
  const bridge = await startScriptedBridge(t);
  const proxied = await startProxiedEdge(t, [bridge.url], { clock });
  const hub = `${proxied.url}/hubs/chat?id=token`;
  const poll = () => startPoll(t, hub);
  const first = poll();
  give(await nth(bridge, 1), '');
  await until(() => first.answer);
  const tap = proxied.taps[0]!;
  return { bridge, clock, hub, poll, first: first.answer!, tap, ...proxied };
}

/** Resolves when the edge has read what reached it before, which shows in nothing else. */
async function seenBy(url: string): Promise<void> {
  await (await fetch(`${url}/nowhere`, { headers: { connection: 'close' } })).text();
}

/** The n-th request that the bridge was asked, counted from 1. */
async function nth(bridge: ScriptedBridge, n: number): Promise<Asked> {
  await until(() => bridge.asked.length >= n, { what: `request ${n} at the bridge` });
  return bridge.asked[n - 1]!;
}

function aborted({ response }: Asked): Promise<unknown> {
  return until(() => response.destroyed && !response.writableEnded, { what: 'the bridge’s poll to be aborted' });
}

test('one poll of the client is one poll at the bridge, and its answer the bridge’s, past the tap', async (t) => {
  const { bridge, poll, tap, first } = await connected(t);
  assert.deepEqual([first.status, first.body, first.headers['content-length']], [200, '', '0']);
  for (const body of ['{}\x1e', 'a\x1eb\x1e']) {
    const waiting = poll();
    const count = bridge.asked.length;
    const atBridge = await nth(bridge, count + 1);
    assert.equal(atBridge.request.url, `/hubs/chat?id=token&_=${polls}`);
    assert.equal(atBridge.request.headers.origin, 'https://a');
    give(atBridge, body);
    await until(() => waiting.answer);
    assert.equal(waiting.answer!.body, body);
    assert.equal(waiting.answer!.headers.expires, never.Expires);
    assert.equal(bridge.asked.length, count + 1);
  }
  assert.deepEqual(tap.received, ['{}\x1e', 'a\x1eb\x1e']);
  const empty = poll();
  give(await nth(bridge, 4), '', 'text/plain');
  await until(() => empty.answer);
  assert.deepEqual(
    [empty.answer!.status, empty.answer!.body, empty.answer!.headers['content-type']],
    [200, '', 'text/plain'],
  );
});

test('what waited within an answer of the bridge stands between what is left of it', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  let injected = '';
  tap.splitting = (data, handOn) => {
    handOn(data.subarray(0, 6));
    assert.equal(tap.leg.backlogBytes, 0, 'its client is about to get it');
    injected = tap.inject('1');
    handOn(data.subarray(6));
  };
  const one = poll();
  give(await nth(bridge, 2), 'older\x1enewer\x1e');
  await until(() => one.answer);
  assert.equal(one.answer!.body, `older\x1e${injected}\x1enewer\x1e`);
});

test('a connection that is cut off within an answer of the bridge is over: what stands behind is not shown after a gap', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  tap.splitting = (data, handOn) => {
    handOn(data.subarray(0, 6));
    tap.leg.cut();
    handOn(data.subarray(6));
  };
  const one = poll();
  give(await nth(bridge, 2), 'older\x1enewer\x1e');
  await until(() => one.answer);
  assert.deepEqual([one.answer!.status, one.answer!.body], [204, '']);
});

test('what is injected answers the waiting poll in the bridge’s shape; the bridge’s poll stays, and the next one joins it', async (t) => {
  const { bridge, poll, tap, first } = await connected(t);
  const one = poll();
  const atBridge = await nth(bridge, 2);
  const injected = `${tap.inject('1')}\x1e${tap.inject('2')}\x1e`;
  await until(() => one.answer);
  assert.equal(one.answer!.body, injected, 'what is injected in one turn comes in one answer');
  const shape = ({ headers: { date: _, 'content-length': __, ...rest } }: typeof first) => rest;
  assert.deepEqual(shape(one.answer!), shape(first));
  assert.equal(one.answer!.headers['content-length'], String(injected.length));

  const two = poll();
  const handshake = fetch(`${bridge.url}/x`);
  const other = await nth(bridge, 3);
  other.response.end();
  await handshake;
  assert.ok(!atBridge.response.destroyed);
  give(atBridge, 'of the bridge');
  await until(() => two.answer);
  assert.equal(two.answer!.body, 'of the bridge');
  assert.equal(bridge.asked.filter(({ request: { url } }) => url !== '/x').length, 2);
});

test('what comes while no poll waits comes with the next, in its order, from both sides', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const one = poll();
  const atBridge = await nth(bridge, 2);
  const injected = [tap.inject('1')];
  await until(() => one.answer);
  injected.push(tap.inject('2'));
  give(atBridge, 'of the bridge');
  await until(() => tap.received.length === 1);
  injected.push(tap.inject('3'));
  assert.ok(tap.leg.backlogBytes > 0);
  const two = poll();
  await until(() => two.answer);
  assert.equal(two.answer!.body, `${injected[1]}\x1eof the bridge${injected[2]}\x1e`);
  assert.equal(tap.leg.backlogBytes, 0);
  assert.equal(bridge.asked.length, 2);
});

test('what waits for an answer of the bridge comes behind it, with the next poll', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const waiting = poll();
  let injected = '';
  tap.cutting = (data) => {
    queueMicrotask(() => {
      injected = tap.inject('1');
    });
    return data.subarray(0, 2);
  };
  give(await nth(bridge, 2), 'a\x1eb\x1e');
  await until(() => waiting.answer);
  assert.equal(waiting.answer!.body, 'a\x1e');
  const next = poll();
  await until(() => next.answer);
  assert.equal(next.answer!.body, `${injected}\x1e`);
});

test('an answer of which nothing is left for the client is an empty one, upon which it asks again', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const waiting = poll();
  tap.cutting = () => undefined;
  give(await nth(bridge, 2), 'own completion');
  await until(() => waiting.answer);
  assert.deepEqual([waiting.answer!.status, waiting.answer!.body], [200, '']);
  // Without a client it is nothing at all: the next poll goes to the bridge.
  const next = poll();
  await nth(bridge, 3);
  const injected = tap.inject('1');
  await until(() => next.answer?.body === `${injected}\x1e`);
  give(bridge.asked[2]!, 'own completion');
  await until(() => tap.received.length === 2);
  poll();
  await nth(bridge, 4);
});

test('a newer poll is forwarded as well, and the older one gets the 204 with which the bridge displaces it', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const older = poll();
  const olderAtBridge = await nth(bridge, 2);
  const newer = poll();
  const newerAtBridge = await nth(bridge, 3);
  end(olderAtBridge, 204);
  await until(() => older.answer);
  assert.equal(older.answer!.status, 204);
  assert.equal(tap.ends, 0);
  const injected = tap.inject('1');
  await until(() => newer.answer?.body === `${injected}\x1e`);
  const third = poll();
  give(newerAtBridge, 'x');
  await until(() => third.answer?.body === 'x');
});

test('a client that aborts its poll aborts the bridge’s, its own or one that it has joined; the connection goes on', async (t) => {
  const { bridge, poll, tap, url } = await connected(t);
  const own = poll();
  const atBridge = await nth(bridge, 2);
  own.abort();
  await aborted(atBridge);

  const answered = poll();
  const stays = await nth(bridge, 3);
  tap.inject('1');
  await until(() => answered.answer);
  const joined = poll();
  await joined.sent;
  await seenBy(url);
  joined.abort();
  await aborted(stays);
  assert.equal(tap.ends, 0);
  const next = poll();
  give(await nth(bridge, 4), 'still there');
  await until(() => next.answer?.body === 'still there');
});

test('a client that stays away for 15 s looks so to the bridge as well; it is forgotten when the bridge has done so', async (t) => {
  const { bridge, poll, tap, clock } = await connected(t);
  const answered = poll();
  const stays = await nth(bridge, 2);
  tap.inject('1');
  await until(() => answered.answer);
  clock.advance(14_999);
  assert.ok(!stays.response.destroyed);
  clock.advance(1);
  await aborted(stays);
  assert.equal(tap.ends, 0);
  clock.advance(17_999);
  assert.equal(tap.ends, 0, 'until the bridge itself has forgotten it');
  clock.advance(1);
  assert.equal(tap.ends, 1);
  poll();
  await nth(bridge, 3);
});

test('a client that comes back in time is expected anew', async (t) => {
  const { bridge, poll, tap, clock } = await connected(t);
  for (let n = 2; n < 5; n++) {
    clock.advance(17_000);
    const waiting = poll();
    const atBridge = await nth(bridge, n);
    clock.advance(90_000);
    give(atBridge, 'x');
    await until(() => waiting.answer);
  }
  assert.equal(tap.ends, 0);
});

for (const status of [204, 404]) {
  test(`a ${status} ends the connection; if no poll waits for it, the next one is told, behind what was still owed`, async (t) => {
    const told = await connected(t);
    const waiting = told.poll();
    end(await nth(told.bridge, 2), status);
    await until(() => waiting.answer?.status === status);
    assert.equal(told.tap.ends, 1);

    const { bridge, poll, tap } = await connected(t);
    const answered = poll();
    const stays = await nth(bridge, 2);
    tap.inject('1');
    await until(() => answered.answer);
    const owed = tap.inject('2');
    end(stays, status);
    await until(() => tap.ends === 1);
    const last = poll();
    await until(() => last.answer?.body === `${owed}\x1e`);
    const over = poll();
    await until(() => over.answer?.status === status);
    assert.equal(bridge.asked.length, 2);
    // And then it is forgotten.
    poll();
    await nth(bridge, 3);
  });
}

test('a refusal in between is passed on and ends nothing', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const waiting = poll();
  end(await nth(bridge, 2), 401);
  await until(() => waiting.answer?.status === 401);
  assert.equal(tap.ends, 0);
});

test('DELETE is forwarded and ends the connection; what the bridge still answers passes untapped', async (t) => {
  const { bridge, poll, tap, hub } = await connected(t);
  const waiting = poll();
  const atBridge = await nth(bridge, 2);
  const removed = fetch(hub, { method: 'DELETE' });
  const remove = await nth(bridge, 3);
  assert.equal(remove.request.method, 'DELETE');
  end(remove, 202);
  assert.equal((await removed).status, 202);
  assert.equal(tap.ends, 1);
  give(atBridge, 'last');
  await until(() => waiting.answer?.body === 'last');
  assert.deepEqual(tap.received, []);
  const over = poll();
  end(await nth(bridge, 4), 404);
  await until(() => over.answer?.status === 404);
});

test('POSTs pass the tap on their way', async (t) => {
  const { bridge, tap, hub } = await connected(t);
  const posted = fetch(hub, { method: 'POST', body: '{"protocol":"json","version":1}\x1e' });
  const { response, body } = await nth(bridge, 2);
  assert.equal(body, '{"protocol":"json","version":1}\x1e');
  assert.deepEqual(tap.sent, [body]);
  response.end();
  assert.equal((await posted).status, 200);
});

test('an answer of the bridge waits while the log is not read; what is injected passes', async (t) => {
  const { bridge, poll, tap, url } = await connected(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  tap.ready = promise;
  const one = poll();
  give(await nth(bridge, 2), 'held');
  const injected = tap.inject('1');
  await until(() => one.answer?.body === `${injected}\x1e`);
  const two = poll();
  await two.sent;
  await seenBy(url);
  assert.deepEqual(tap.received, []);
  resolve();
  await until(() => two.answer?.body === 'held');
});

test('a poll that the bridge breaks off is a 502 and the end for a client that waits for it, and nothing for one that does not', async (t) => {
  const broken = await connected(t);
  const waiting = broken.poll();
  (await nth(broken.bridge, 2)).response.destroy();
  await until(() => waiting.answer?.status === 502 && broken.tap.ends === 1);

  const { bridge, poll, tap, url } = await connected(t);
  const answered = poll();
  const stays = await nth(bridge, 2);
  tap.inject('1');
  await until(() => answered.answer);
  stays.response.destroy();
  await seenBy(url);
  const next = poll();
  give(await nth(bridge, 3), 'x');
  await until(() => next.answer?.body === 'x');
});

test('cut tells the client that it is over, now or at its next poll, and the bridge by a DELETE', async (t) => {
  const now = await connected(t);
  const waiting = now.poll();
  await nth(now.bridge, 2);
  now.tap.leg.cut();
  await until(() => waiting.answer?.status === 204);
  assert.equal((await nth(now.bridge, 3)).request.method, 'DELETE');
  assert.equal(now.tap.ends, 1);

  const later = await connected(t);
  later.tap.leg.cut();
  assert.equal((await nth(later.bridge, 2)).request.method, 'DELETE');
  const next = later.poll();
  await until(() => next.answer?.status === 204);
  assert.equal(later.bridge.asked.length, 2);
});

test('who is asked to come back first gets what the bridge had for it, then what waits here, and hears of the end behind it', async (t) => {
  const { bridge, poll, tap, closeClients, url } = await connected(t);
  const fenced = Promise.withResolvers<void>();
  tap.fenced = fenced.promise;
  const gone = closeClients();
  const ofBridge = poll();
  give(await nth(bridge, 2), 'sent before');
  await until(() => ofBridge.answer);
  assert.deepEqual([ofBridge.answer!.body, tap.ends], ['sent before', 0]);
  const waited = tap.inject('1');
  fenced.resolve();
  await seenBy(url);
  assert.equal(tap.ends, 0, 'the client has not asked for it yet');
  const next = poll();
  await until(() => next.answer);
  assert.equal(next.answer!.body, `${waited}\x1e`);
  await gone;
  assert.deepEqual([tap.ends, (await nth(bridge, 3)).request.method], [1, 'DELETE']);
  const last = poll();
  await until(() => last.answer?.status === 204);
});

test('who is asked to come back and waits for nothing is told at once; who does not ask in time is cut, and still gets what waits', async (t) => {
  const now = await connected(t);
  const waiting = now.poll();
  await nth(now.bridge, 2);
  await now.closeClients();
  await until(() => waiting.answer?.status === 204);

  const away = await connected(t);
  const waited = away.tap.inject('1');
  const gone = away.closeClients();
  await seenBy(away.url);
  assert.equal(away.tap.ends, 0);
  away.clock.advance(2_000);
  await gone;
  const late = away.poll();
  await until(() => late.answer);
  assert.equal(late.answer!.body, `${waited}\x1e`, 'it has not been thrown away');
  const last = away.poll();
  await until(() => last.answer?.status === 204);
});

test('who asks for what waits has caught up with it', async (t) => {
  const { bridge, poll, tap } = await connected(t);
  const waited = tap.inject('1');
  assert.equal(tap.caughtUps, 0);
  const next = poll();
  await until(() => next.answer);
  assert.equal(next.answer!.body, `${waited}\x1e`);
  assert.equal(tap.caughtUps, 1);
  const answeredByBridge = poll();
  give(await nth(bridge, 2), 'of the bridge');
  await until(() => answeredByBridge.answer);
  assert.equal(tap.caughtUps, 1, 'the bridge judges how its own are taken');
});

test('who lets too much wait is cut', async (t) => {
  const { tap } = await connected(t);
  const megabyte = JSON.stringify('x'.repeat(1024 * 1024));
  for (let i = 0; i < 17; i++) tap.inject(megabyte);
  assert.equal(tap.ends, 1);
});
