// The lanes between a hand-made log and a hand-made bridge: what the backend is told, and what goes before what.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BridgeAnswer, BridgeLane, RawRequest } from '../../src/bridge/lane.ts';
import type { Event } from '../../src/contract/event.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { type Decision, type IncomingCall, type LaneFailures, StaleEpoch } from '../../src/lanes/call.ts';
import { Lanes } from '../../src/lanes/lanes.ts';
import type { AppendResult, ClaimResult, Log, NewEntry } from '../../src/log/log.ts';
import { allRooms } from '../../src/room-set.ts';
import { Traffic } from '../../src/rooms/traffic.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { until } from '../support/wait.ts';

const ok: BridgeAnswer = { status: 200, rawHeaders: [], body: Buffer.from('{"broadcast":true}') };

/** Everything that a test does not replace goes well. */
class Scene {
  readonly metrics = createMetrics();
  append: (entry: NewEntry) => Promise<AppendResult> = async () => 'appended';
  claim: (eventId: string) => Promise<ClaimResult> = async () => 'claimed';
  time: () => Promise<number> = async () => performance.now();
  send: (request: RawRequest) => Promise<BridgeAnswer> = async () => ok;
  decision: Decision = { lane: 'stream', epoch: 1 };
  /** When a room whose log has failed may go to the bridge. */
  ready = async () => {};
  wasRead: (eventId: string) => boolean = () => false;
  settleUncertain: LaneFailures['settleUncertain'] = (_, callBridge) => callBridge();
  isTypingOver = false;
  othersMayBeAtBridge = false;
  /** Rooms. */
  readonly mirrored = new Set<string>();
  readonly settled: [string, boolean][] = [];
  readonly unshadowed: string[] = [];
  /** What went where, in order. */
  readonly journal: string[] = [];
  readonly lanes: Lanes;
  readonly traffic = new Traffic(systemClock);

  constructor({ bridgeFallback = false, coalesceWindowMs = 10_000, clock = systemClock } = {}) {
    const log = {
      reachable: true,
      append: (entry: NewEntry) => {
        this.journal.push(`log ${entry.payload}`);
        return this.append(entry);
      },
      claim: (eventId: string) => this.claim(eventId),
      time: () => this.time(),
      settle: async (eventId: string, kept: boolean) => void this.settled.push([eventId, kept]),
    } as unknown as Log;
    const bridge = {
      send: (request: RawRequest) => {
        this.journal.push(`bridge ${request.body}`);
        return this.send(request);
      },
    } as unknown as BridgeLane;
    this.lanes = new Lanes({
      log,
      bridge,
      cutover: {
        decide: () => this.decision,
        newerThan: async () => {},
        begin: (room) => this.traffic.begin(room),
        mirror: false,
        mirrorsRoom: (room) => this.mirrored.has(room),
        remembersIds: true,
        hasNativeHubs: false,
      },
      failures: {
        onLogFailure: async (reason) => {
          const ready = this.ready();
          this.decision = { lane: 'bridge', epoch: 1, outage: { reason, ready } };
          await ready;
        },
        onBlind: () => {},
        othersMayBeAtBridge: () => this.othersMayBeAtBridge,
        settleUncertain: (event, callBridge) => this.settleUncertain(event, callBridge),
      },
      reads: {
        position: '0-0',
        hasRead: (eventId) => this.wasRead(eventId),
        isTypingOver: () => this.isTypingOver,
      },
      hasAudience: () => true,
      onUnshadowed: (why) => void this.unshadowed.push(why),
      settings: { fallback: true, bridgeFallback, coalesceWindowMs },
      clock,
      logger: silentLogger,
      metrics: this.metrics,
    });
  }

  carry(call: IncomingCall, decision = this.decision) {
    return this.lanes.carry(call, decision);
  }
}

function call(name: string, extra: Partial<Event> = {}): IncomingCall {
  const event: Event = {
    eventIds: [name],
    eventType: 'chat_message',
    stream: 'events:chat',
    maxLength: 10,
    room: 'r',
    payload: name,
    deliveries: [],
    ...extra,
  };
  return { event, request: { method: 'POST', url: '/', rawHeaders: [], body: Buffer.from(name) } };
}

function unreachable(code = 'ECONNREFUSED') {
  return Promise.reject(new CrossfadeError('BRIDGE_UNREACHABLE', 'no answer', { cause: { code } }));
}

test('with --bridge-fallback a call that the bridge may have shown before its connection broke is not appended', async () => {
  const scene = new Scene({ bridgeFallback: true });
  scene.decision = { lane: 'bridge', epoch: 1 };
  scene.send = () => unreachable('ECONNRESET');
  await assert.rejects(scene.carry(call('m')), { code: 'BRIDGE_UNREACHABLE' });
  assert.deepEqual(scene.journal, ['bridge m']);
});

test('with --bridge-fallback a call that the log refuses as stale is decided anew, and not answered', async () => {
  const scene = new Scene({ bridgeFallback: true });
  scene.send = () => unreachable();
  scene.append = async () => 'stale';
  await assert.rejects(scene.carry(call('m'), { lane: 'bridge', epoch: 1 }), StaleEpoch);
  assert.deepEqual(scene.settled, [['m', false]]);
  const counted = (await scene.metrics.published.get()).values;
  assert.deepEqual(counted, [], 'nor counted as a failure of the lane that it was first on');
});

test('with --bridge-fallback a repeat that only the log knows is answered as one', async () => {
  const scene = new Scene({ bridgeFallback: true });
  scene.send = () => unreachable();
  scene.claim = () => Promise.reject(new CrossfadeError('LOG_UNAVAILABLE', 'no answer'));
  scene.append = async () => 'duplicate';
  assert.deepEqual(await scene.carry(call('m'), { lane: 'bridge', epoch: 1 }), { kind: 'duplicate' });
});

test('a claim without an answer does not stay open when the bridge has not kept the call', async () => {
  const scene = new Scene();
  scene.claim = () => Promise.reject(new CrossfadeError('LOG_UNAVAILABLE', 'no answer'));
  scene.send = () => unreachable();
  await assert.rejects(scene.carry(call('m'), { lane: 'bridge', epoch: 1 }), { code: 'BRIDGE_UNREACHABLE' });
  assert.deepEqual(scene.settled, [['m', false]]);
});

const typing = (name: string, room = 'r') =>
  call(name, { eventIds: [], room, coalescing: { key: 'ada', typingOf: 'ada' } });

const receipt = (name: string) => call(name, { eventIds: [], coalescing: { key: 'receipts of ada' } });

test('a message by the bridge goes behind what its room’s windows still hold', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  scene.decision = { lane: 'bridge', epoch: 2 };
  await scene.carry(call('message'));
  assert.deepEqual(scene.journal, ['bridge typing', 'bridge message']);
});

test('typing that a process held while it stood still is not shown once its room is on the bridge lane', async () => {
  let awayMs = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + awayMs };
  const scene = new Scene({ coalesceWindowMs: 20, clock });
  await scene.carry(typing('typing'));
  await scene.carry(receipt('receipt'));
  awayMs = 1_000;
  scene.decision = { lane: 'bridge', epoch: 2 };
  await until(() => scene.journal.length > 0);
  await scene.lanes.drain();
  assert.deepEqual(scene.journal, ['bridge receipt']);
});

test('a room does not wait for what the windows of another one gave out', async () => {
  const scene = new Scene();
  const stuck = Promise.withResolvers<AppendResult>();
  scene.append = () => stuck.promise;
  await scene.carry(typing('typing', 'other'));
  scene.lanes.flushWindows(new Set(['other']));
  const flushed = scene.traffic.ended(allRooms);
  await until(() => scene.journal.length === 1);
  await scene.carry(call('message'), { lane: 'bridge', epoch: 1 });
  stuck.resolve('appended');
  await flushed;
  assert.deepEqual(scene.journal, ['log typing', 'bridge message']);
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const refused = () => Promise.reject(new CrossfadeError('LOG_APPEND_REFUSED', 'too late', { reason: 'timeout' }));
const unknown = () => Promise.reject(new CrossfadeError('LOG_APPEND_UNKNOWN', 'no answer', { reason: 'timeout' }));

test('a call that the log does not take goes to the bridge when its room may, and so do those that follow', async () => {
  const scene = new Scene();
  scene.append = refused;
  const ready = Promise.withResolvers<void>();
  scene.ready = () => ready.promise;
  const first = scene.carry(call('first'));
  await until(() => scene.decision.outage !== undefined);
  const second = scene.carry(call('second'));
  await turn();
  assert.deepEqual(scene.journal, ['log first']);
  ready.resolve();
  assert.deepEqual(await Promise.all([first, second]), [
    { kind: 'bridge', answer: ok },
    { kind: 'bridge', answer: ok },
  ]);
  assert.deepEqual(scene.journal, ['log first', 'bridge first', 'bridge second']);
});

test('what turns out to be in the log while its room gets ready for the bridge does not go there', async () => {
  const scene = new Scene();
  scene.append = unknown;
  scene.ready = async () => {
    scene.wasRead = () => true;
  };
  assert.deepEqual(await scene.carry(call('m')), { kind: 'broadcast' });
  assert.deepEqual(scene.journal, ['log m']);
});

test('a message goes behind what its room’s windows held, also where the log fails that', async () => {
  const scene = new Scene();
  await scene.carry(receipt('receipt'));
  scene.append = refused;
  await scene.carry(call('message'), { lane: 'stream', epoch: 1 });
  assert.deepEqual(scene.journal, ['log receipt', 'bridge receipt', 'bridge message']);
});

/** Who appends this waits until the test says what became of it. */
function heldUp(scene: Scene, payload: string) {
  const { promise, resolve } = Promise.withResolvers<AppendResult>();
  scene.append = (entry) => (entry.payload === payload ? promise : Promise.resolve('appended'));
  return resolve;
}

test('a message is handed to the log behind its room’s typing without waiting until the log has that', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  const decide = heldUp(scene, 'typing');
  assert.deepEqual(await scene.carry(call('message')), { kind: 'broadcast' });
  assert.deepEqual(scene.journal, ['log typing', 'log message']);
  decide('appended');
  await scene.lanes.drain();
});

test('a message waits for its room’s read receipts, which the bridge gets if the log refuses them, and for typing behind them', async () => {
  const scene = new Scene();
  await scene.carry(receipt('receipt'));
  await scene.carry(typing('typing'));
  const decide = heldUp(scene, 'receipt');
  const carried = scene.carry(call('message'));
  await turn();
  assert.deepEqual(scene.journal, ['log receipt', 'log typing']);
  decide('appended');
  await carried;
  assert.deepEqual(scene.journal, ['log receipt', 'log typing', 'log message']);
});

test('a message that the log refuses goes to the bridge only when it is known what became of the typing before it', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  const { promise, resolve } = Promise.withResolvers<AppendResult>();
  scene.append = ({ payload }) => (payload === 'typing' ? promise : refused());
  const carried = scene.carry(call('message'));
  await until(() => scene.decision.outage !== undefined);
  await turn();
  assert.deepEqual(scene.journal, ['log typing', 'log message']);
  resolve('appended');
  await carried;
  assert.deepEqual(scene.journal, ['log typing', 'log message', 'bridge message']);
});

test('without a bridge, where nothing is ever stale, a message does not wait for typing either', async () => {
  const scene = new Scene();
  scene.decision = { lane: 'stream' };
  await scene.carry(typing('typing'));
  const decide = heldUp(scene, 'typing');
  await scene.carry(call('message'));
  assert.deepEqual(scene.journal, ['log typing', 'log message']);
  decide('appended');
  await scene.lanes.drain();
});

test('a message under a newer state waits for typing that the log may refuse as stale, and that is then appended once more', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  const decide = heldUp(scene, 'typing');
  scene.lanes.flushWindows(allRooms);
  scene.decision = { lane: 'stream', epoch: 2 };
  const carried = scene.carry(call('message'));
  await turn();
  assert.deepEqual(scene.journal, ['log typing']);
  scene.append = async () => 'appended';
  decide('stale');
  await carried;
  assert.deepEqual(scene.journal, ['log typing', 'log typing', 'log message']);
});

test('typing that the log does not take is not sent by the bridge, where it might come behind its sender’s message', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  scene.append = async ({ payload }) => (payload === 'typing' ? refused() : 'appended');
  assert.deepEqual(await scene.carry(call('message')), { kind: 'broadcast' });
  assert.deepEqual(scene.journal, ['log typing', 'log message']);
});

test('typing whose room has left the stream lane meanwhile goes by the bridge, unless its sender’s message was read', async () => {
  for (const isOver of [false, true]) {
    const scene = new Scene();
    await scene.carry(typing('typing'));
    scene.append = async () => {
      scene.isTypingOver = isOver;
      scene.decision = { lane: 'bridge', epoch: 2 };
      return 'stale';
    };
    await scene.lanes.drain();
    assert.deepEqual(scene.journal, isOver ? ['log typing'] : ['log typing', 'bridge typing']);
  }
});

test('typing whose room another replica takes to the bridge is dropped; a read receipt is not', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  await scene.carry(receipt('receipt'));
  scene.othersMayBeAtBridge = true;
  await scene.lanes.drain();
  assert.deepEqual(scene.journal, ['log receipt']);
});

test('typing whose room left the stream lane and came back, while this replica stood still, is not appended behind its message', async () => {
  const scene = new Scene();
  await scene.carry(typing('typing'));
  scene.append = async () => {
    scene.othersMayBeAtBridge = true;
    scene.decision = { lane: 'stream', epoch: 3 };
    scene.append = async () => 'appended';
    return 'stale';
  };
  await scene.lanes.drain();
  assert.deepEqual(scene.journal, ['log typing']);
});

test('read receipts of one window that may be in the log are asked for once: all of them go to the bridge, or none', async () => {
  const scene = new Scene();
  let asked = 0;
  // After the first answer of the bridge the log's copy is withheld; whoever has read it meanwhile says so when asked again.
  scene.settleUncertain = async (_, callBridge) => (asked++ === 0 ? callBridge() : 'kept');
  scene.append = unknown;
  for (const name of ['first', 'second', 'third']) await scene.carry(receipt(name));
  await scene.lanes.drain();
  assert.deepEqual(scene.journal, ['log third', 'bridge first', 'bridge second', 'bridge third']);
  assert.equal(asked, 1);
});

test('a window’s copy in the log is withheld only if the bridge has taken every call of it', async () => {
  const failed: BridgeAnswer = { status: 503, rawHeaders: [], body: Buffer.alloc(0) };
  const timedOut = () => Promise.reject(new CrossfadeError('BRIDGE_TIMEOUT', 'no answer'));
  for (const answer of [async () => failed, timedOut]) {
    const scene = new Scene();
    const verdicts: string[] = [];
    scene.settleUncertain = async (_, callBridge) => {
      const given = await callBridge().catch((error) => {
        verdicts.push('show');
        throw error;
      });
      verdicts.push(given.status === 200 ? 'withhold' : 'show');
      return given;
    };
    scene.append = unknown;
    scene.send = async ({ body }) => (String(body) === 'first' ? answer() : ok);
    for (const name of ['first', 'second']) await scene.carry(receipt(name));
    await scene.lanes.drain();
    assert.deepEqual(verdicts, ['show']);
    assert.deepEqual(scene.journal.slice(1), ['bridge first', 'bridge second']);
  }
});

test('what the bridge has taken is mirrored in the rooms that the mirror takes, and in no other', async () => {
  const scene = new Scene();
  scene.mirrored.add('mirrored');
  const appended: string[] = [];
  scene.append = async ({ stream, room }) => {
    appended.push(`${stream} ${room}`);
    return 'appended';
  };
  for (const room of ['mirrored', 'another']) await scene.carry(call(room, { room }), { lane: 'bridge', epoch: 1 });
  await scene.lanes.drain();
  assert.deepEqual(appended, ['crossfade:shadow:events:chat mirrored']);
});
