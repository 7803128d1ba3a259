// Stand-ins at toy bridges, which say whom they know. Time is in the test's hand.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { BridgeAddresses } from '../../../src/bridge/addresses.ts';
import { StandIns } from '../../../src/edge/proxied/stand-ins.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { jwtSecret, startBridge, type ToyBridge } from '../../support/bridge.ts';
import { TestClock } from '../../support/clock.ts';
import { logLines } from '../../support/log-lines.ts';
import { until } from '../../support/wait.ts';

/** @returns the users of the connections that the bridge knows */
function usersAt(bridge: ToyBridge): string[] {
  const users: string[] = [];
  bridge.onPresence = ({ user }, isThere) => {
    if (isThere) users.push(user);
    else users.splice(users.indexOf(user), 1);
  };
  return users;
}

async function setUp(t: TestContext, bridges: ToyBridge[], secret: string | undefined = jwtSecret) {
  const clock = new TestClock(Date.now());
  const urls = bridges.map(({ url }) => url);
  const addresses = await BridgeAddresses.open(urls, { clock });
  const { logger, lines } = logLines();
  const counted = { now: 0 };
  const set = (_: string, count: number) => {
    counted.now = count;
  };
  const faults = new Faults(logger, createMetrics());
  const standIns = new StandIns({ addresses, secret, roster: { set }, clock, faults, logger });
  t.after(() => {
    standIns.end();
    addresses.close();
  });
  return { standIns, clock, lines, counted };
}

test('every bridge knows a user’s stand-in when it is open, and knows it no more when it is closed', async (t) => {
  const bridges = [await startBridge(t), await startBridge(t)];
  const known = bridges.map(usersAt);
  const { standIns, counted } = await setUp(t, bridges);
  await Promise.all([standIns.open('ada', 'remote-access'), standIns.open('ada', 'chat')]);
  await standIns.open('bob', 'notification');
  assert.deepEqual(known, [
    ['ada', 'bob'],
    ['ada', 'bob'],
  ]);
  assert.equal(counted.now, 4);
  standIns.close('ada');
  await until(() => counted.now === 2, { what: 'those of ada to end' });
  assert.deepEqual(known, [['bob'], ['bob']]);
  standIns.end();
  await until(() => counted.now === 0, { what: 'all to end' });
  await standIns.open('ada', 'chat');
  assert.deepEqual([known, counted.now], [[[], []], 0], 'from then on there are none');
});

test('one that is closed while it is being dialled ends, too', async (t) => {
  const bridge = await startBridge(t);
  const known = usersAt(bridge);
  const { standIns, counted, lines } = await setUp(t, [bridge]);
  const opening = standIns.open('ada', 'chat');
  assert.equal(counted.now, 1, 'it is counted before the bridge can count it');
  standIns.close('ada');
  await opening;
  await until(() => counted.now === 0, { what: 'it to end' });
  assert.deepEqual([known, lines], [[], []]);
});

test('whoever waits for a bridge that refuses a stand-in is held up no longer than that, and the log says so once', async (t) => {
  const bridge = await startBridge(t);
  const { standIns, counted, lines } = await setUp(t, [bridge], 'another-secret-of-at-least-32-characters');
  await standIns.open('ada', 'chat');
  await standIns.open('bob', 'chat');
  assert.equal(counted.now, 0);
  assert.deepEqual(
    lines.map(({ level, reason }) => [level, reason]),
    [['warn', 'Unexpected server response: 401']],
  );
});

test('a bridge that takes a connection and says nothing holds nobody up for more than a second', async (t) => {
  const bridge = await startBridge(t);
  bridge.onCall = ({ url }) => (url.startsWith('/hubs/') ? 'hang' : undefined);
  const { standIns, clock } = await setUp(t, [bridge]);
  let isOpen = false;
  const opening = standIns.open('ada', 'chat').then(() => {
    isOpen = true;
  });
  clock.advance(999);
  await new Promise(setImmediate);
  assert.equal(isOpen, false);
  clock.advance(1);
  await opening;
});

test('where a bridge has ended a stand-in, another one is there by the next round of pings', async (t) => {
  const first = await startBridge(t);
  const { standIns, clock, counted } = await setUp(t, [first]);
  await standIns.open('ada', 'chat');
  const port = Number(new URL(first.url).port);
  await first.close();
  await until(() => counted.now === 0, { what: 'the bridge to be gone' });
  const again = await startBridge(t, { port });
  const known = usersAt(again);
  clock.advance(10_000);
  await until(() => known.length === 1, { what: 'the stand-in to be back' });
  assert.deepEqual([known, counted.now], [['ada'], 1]);
});

test('without the secret of the tokens there are no stand-ins', async (t) => {
  const bridge = await startBridge(t);
  const clock = new TestClock();
  const addresses = await BridgeAddresses.open([bridge.url], { clock });
  t.after(() => addresses.close());
  const { logger, lines } = logLines();
  const set = () => assert.fail('nothing is counted');
  const faults = new Faults(logger, createMetrics());
  const standIns = new StandIns({ addresses, secret: undefined, roster: { set }, clock, faults, logger });
  await standIns.open('ada', 'chat');
  assert.deepEqual(lines, []);
  standIns.end();
});
