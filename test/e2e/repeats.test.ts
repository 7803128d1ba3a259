// Repeats of a call that is not decided yet: they wait for it, here and on other replicas, on either lane.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bucketOf } from '../../src/rooms/bucket.ts';
import { broadcastsAt, call, startBridge } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { atPercent, patient, startSidecar } from './sidecar.ts';

/** A room whose bucket keeps it on the bridge lane at 50 percent. */
const room = Array.from({ length: 100 }, (_, i) => `room-${i}`).find((name) => bucketOf(name) >= 50)!;
const typing = { event_id: 'repeated', request_id: room, user_id: 'u', is_typing: true };

for (const where of ['the same replica', 'another replica'] as const) {
  test(`a repeat on ${where} waits for the open bridge-lane call and is a duplicate`, async (t) => {
    const redis = await startRedis(t);
    const bridge = await startBridge(t);
    const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url, '--percent', '50'];
    const one = await startSidecar(t, flags);
    const two = where === 'the same replica' ? one : await startSidecar(t, flags);
    for (const replica of [one, two]) await atPercent(replica, 50);
    const release = Promise.withResolvers<undefined>();
    bridge.onCall = () => release.promise;
    const first = call(one.listen, 'chat/typing', typing);
    await until(() => broadcastsAt(bridge).length === 1, { what: 'the first call to be at the bridge' });
    let answered = false;
    const repeat = call(two.listen, 'chat/typing', typing).finally(() => {
      answered = true;
    });
    // A call of another id passes meanwhile, so the repeat has had its chance.
    const other = call(two.listen, 'chat/typing', { ...typing, event_id: 'other' });
    await until(() => broadcastsAt(bridge).length === 2, { what: 'the other call to be at the bridge' });
    assert.equal(answered, false, 'the repeat is not answered before the first call is');
    release.resolve(undefined);
    assert.deepEqual(await first, { status: 200, body: { broadcast: true } });
    assert.deepEqual(await repeat, { status: 200, body: { duplicate: true } });
    assert.deepEqual(await other, { status: 200, body: { broadcast: true } });
    assert.equal(broadcastsAt(bridge).length, 2, 'the repeat never reached the bridge');
  });

  test(`a repeat on ${where} is carried itself when the open call was not kept`, async (t) => {
    const redis = await startRedis(t);
    const bridge = await startBridge(t);
    const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url, '--percent', '50'];
    const one = await startSidecar(t, flags);
    const two = where === 'the same replica' ? one : await startSidecar(t, flags);
    for (const replica of [one, two]) await atPercent(replica, 50);
    const release = Promise.withResolvers<{ status: number }>();
    bridge.onCall = () => (broadcastsAt(bridge).length === 1 ? release.promise : undefined);
    const first = call(one.listen, 'chat/typing', typing);
    await until(() => broadcastsAt(bridge).length === 1, { what: 'the first call to be at the bridge' });
    const repeat = call(two.listen, 'chat/typing', typing);
    release.resolve({ status: 500 });
    assert.equal((await first).status, 500);
    assert.deepEqual(await repeat, { status: 200, body: { broadcast: true } });
  });
}
