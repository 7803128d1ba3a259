// Repeats of a call across a change of lane: whichever lane and replica took the first, every other one answers duplicate,
// and no client is shown it twice.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import {
  bothBridges,
  broadcast,
  command,
  duplicate,
  force,
  messageOf,
  ofAll,
  say,
  shownOf,
  untilAll,
} from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

for (const { name, skip, start } of bothBridges) {
  test(`across a raise and a rollback a repeat is a duplicate on the other lane and replica, in front of ${name}`, {
    skip,
  }, async (t) => {
    const redis = await startRedis(t);
    const flags = [...patient, '--redis', redis.url, '--bridge', (await start(t)).url];
    const [a, b] = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
    const clients = await Promise.all([a, b].map(({ edge }) => join(t, edge, 'chat', 'u1')));
    for (const { connection } of clients) await connection.invoke('JoinRoom', 'r');
    const message = (listen: string, content: string) => call(listen, 'chat/message', messageOf('r', content));
    const typing = (listen: string, eventId: string) =>
      call(listen, 'chat/typing', { event_id: eventId, request_id: 'r', user_id: eventId, is_typing: true });
    const withoutId = (listen: string, content: string) => call(listen, 'chat/message', messageOf('r', content, ''));

    assert.deepEqual(await message(a.listen, 'by the bridge'), broadcast);
    assert.deepEqual(await typing(a.listen, 'typed at the bridge'), broadcast);
    assert.deepEqual(await withoutId(a.listen, 'no id'), broadcast);
    await force(a, 100);
    for (const { listen } of [b, a]) {
      assert.deepEqual(await message(listen, 'by the bridge'), duplicate);
      assert.deepEqual(await typing(listen, 'typed at the bridge'), duplicate);
    }
    assert.deepEqual(await withoutId(b.listen, 'no id'), broadcast, 'an empty id is never a duplicate');

    assert.deepEqual(await message(a.listen, 'by stream'), broadcast);
    assert.deepEqual(await typing(a.listen, 'typed in the stream'), broadcast);
    assert.deepEqual(await message(b.listen, 'by stream'), duplicate);
    assert.deepEqual(await withoutId(a.listen, 'no id'), broadcast);
    assert.equal((await command(b, {}, 'rollback')).status, 200);
    await untilAll([a, b], ({ effective }) => effective.percent === 0, { what: 'the rollback', timeoutMs: 1_000 });
    for (const { listen } of [b, a]) {
      for (const content of ['by stream', 'by the bridge']) assert.deepEqual(await message(listen, content), duplicate);
      assert.deepEqual(await typing(listen, 'typed in the stream'), duplicate);
    }
    assert.deepEqual(await withoutId(b.listen, 'no id'), broadcast);

    await say(a, 'r', 'the end');
    for (const client of clients) {
      await until(() => shownOf(client, 'r').includes('the end'), { what: 'the last message' });
      const expected = ['by the bridge', 'no id', 'no id', 'by stream', 'no id', 'no id', 'the end'];
      assert.deepEqual(shownOf(client, 'r'), expected);
      const typists = client.of('TypingIndicator').map(({ args }) => (args[0] as { userId: string }).userId);
      assert.deepEqual(typists, ['typed at the bridge', 'typed in the stream']);
    }
    assert.deepEqual(await ofAll([a, b], ({ percent }) => percent), [0, 0]);
  });
}
