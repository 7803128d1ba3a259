// Stand-ins at toy bridges, which say whom they know. Time is in the test's hand.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type BridgeAddress, BridgeAddresses } from '../../../src/bridge/addresses.ts';
import { StandIns } from '../../../src/edge/proxied/stand-ins.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { jwtSecret, startBridge, type ToyBridge } from '../../support/bridge.ts';
import { TestClock } from '../../support/clock.ts';
import { logLines } from '../../support/log-lines.ts';
import { until } from '../../support/wait.ts';
import { startScriptedBridge } from './scripted-bridge.ts';

/** @returns the users of the connections that the bridge knows */
function usersAt(bridge: ToyBridge): string[] {
  const users: string[] = [];
  bridge.onPresence = ({ user }, isThere) => {
    if (isThere) users.push(user);
    else users.splice(users.indexOf(user), 1);
  };
  return users;
}

async function setUp(t: TestContext, bridges: { url: string }[], secret = jwtSecret) {
  const clock = new TestClock(Date.now());
  const urls = bridges.map(({ url }) => url);
  const found = await BridgeAddresses.open(urls, { clock });
  found.close();
  const addresses = { all: found.all };
  const { logger, lines } = logLines();
  const counted = { now: 0 };
  const set = (_: string, count: number) => {
    counted.now = count;
  };
  const faults = new Faults(logger, createMetrics());
  const wanted = { now: true };
  const isWanted = () => wanted.now;
  const parts = { addresses, hub: 'ticket', secret: secret || undefined, isWanted, clock, faults, logger };
  const standIns = new StandIns({ ...parts, roster: { set } });
  t.after(() => standIns.closeAll());
  const untilCounted = (count: number) => until(() => counted.now === count, { what: `${count} to be counted` });
  return { standIns, addresses, wanted, clock, lines, counted, untilCounted };
}

test('every bridge knows a user’s stand-in when it is open, and knows it no more when it is closed', async (t) => {
  const bridges = [await startBridge(t), await startBridge(t)];
  const known = bridges.map(usersAt);
  const { standIns, counted, untilCounted } = await setUp(t, bridges);
  await Promise.all([standIns.open('ada'), standIns.open('ada')]);
  await standIns.open('bob');
  assert.deepEqual(known, [
    ['ada', 'bob'],
    ['ada', 'bob'],
  ]);
  assert.equal(counted.now, 4);
  standIns.close('ada');
  await untilCounted(2);
  assert.deepEqual(known, [['bob'], ['bob']]);
  standIns.closeAll();
  await untilCounted(0);
  assert.deepEqual(known, [[], []]);
});

test('where no new ones are wanted, those that there are stay until their users go', async (t) => {
  const bridge = await startBridge(t);
  const known = usersAt(bridge);
  const { standIns, wanted, clock, untilCounted } = await setUp(t, [bridge]);
  await standIns.open('ada');
  wanted.now = false;
  await standIns.open('bob');
  clock.advance(10_000);
  assert.deepEqual(known, ['ada']);
  standIns.close('ada');
  await untilCounted(0);
});

test('one that is closed while it is being dialled ends, too', async (t) => {
  const bridge = await startBridge(t);
  const known = usersAt(bridge);
  const { standIns, counted, lines } = await setUp(t, [bridge]);
  const opening = standIns.open('ada');
  standIns.close('ada');
  await opening;
  await standIns.open('bob');
  assert.deepEqual([known, counted.now, lines], [['bob'], 1, []]);
});

test('whoever waits for a bridge that refuses is held up no longer than that; it is left alone for a while, and the log says so', async (t) => {
  const bridge = await startScriptedBridge(t, {
    refuse: (_, socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n'),
  });
  const { standIns, counted, clock, lines } = await setUp(t, [bridge]);
  await standIns.open('ada');
  await standIns.open('bob');
  assert.equal(bridge.refused.length, 1);
  clock.advance(1_000);
  await standIns.open('cyd');
  assert.deepEqual([counted.now, bridge.refused.length], [0, 2]);
  assert.deepEqual(
    lines.map(({ level, reason }) => [level, reason]),
    [['warn', 'Unexpected server response: 401']],
  );
});

test('a bridge that takes a connection and says nothing holds nobody up for more than two seconds, and is counted for nothing', async (t) => {
  const bridge = await startScriptedBridge(t, { refuse() {} });
  const { standIns, clock, counted } = await setUp(t, [bridge]);
  let isOpen = false;
  const opening = standIns.open('ada').then(() => {
    isOpen = true;
  });
  await until(() => bridge.refused.length === 1, { what: 'the dial' });
  clock.advance(1_999);
  await new Promise(setImmediate);
  assert.equal(isOpen, false);
  clock.advance(1);
  await opening;
  assert.equal(counted.now, 0);
});

test('where a bridge has ended a stand-in, another one is there within ten seconds', async (t) => {
  const first = await startBridge(t);
  const { standIns, clock, untilCounted } = await setUp(t, [first]);
  await standIns.open('ada');
  const port = Number(new URL(first.url).port);
  await first.close();
  await untilCounted(0);
  const again = await startBridge(t, { port });
  const known = usersAt(again);
  clock.advance(10_000);
  await untilCounted(1);
  await until(() => known.length === 1, { what: 'the bridge to know it' });
});

test('a stand-in pings, and is ended and replaced when its bridge has said nothing to three pings', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { standIns, clock } = await setUp(t, [bridge]);
  void standIns.open('ada');
  await until(() => bridge.sockets[0]?.messages.length === 2, { what: 'the greeting' });
  const [first] = bridge.sockets;
  clock.advance(10_000);
  first!.socket.send('{"type":6}\x1e');
  clock.advance(10_000);
  await until(() => first!.messages.length === 4, { what: 'two pings' });
  assert.equal(first!.messages[3]!.data, '{"type":6}\x1e');
  const replaced = () => {
    clock.advance(10_000);
    return bridge.sockets.length > 1;
  };
  await until(replaced, { what: 'another one' });
});

test('a bridge that its name does not stand for any more has no stand-in, and is no second one where it comes back', async (t) => {
  const bridge = await startBridge(t);
  const known = usersAt(bridge);
  const { standIns, addresses, clock, untilCounted } = await setUp(t, [bridge]);
  await standIns.open('ada');
  const [before] = addresses.all;
  addresses.all = [{ ...before } as BridgeAddress];
  await standIns.open('ada');
  assert.deepEqual(known, ['ada']);
  addresses.all = [];
  clock.advance(10_000);
  await untilCounted(0);
  assert.deepEqual(known, []);
});

test('without the secret of the tokens there are no stand-ins', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { standIns, lines } = await setUp(t, [bridge], '');
  await standIns.open('ada');
  assert.deepEqual([lines, bridge.sockets], [[], []]);
});
