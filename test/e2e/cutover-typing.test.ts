// Typing through a proxied hub is the bridge's, the message that ends it goes by stream: the reader, on another replica than the
// sender, is shown them in the order in which the sender made them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { bothBridges, broadcast, force, messageOf } from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

const rooms = Array.from({ length: 10 }, (_, n) => `room-${n}`);
const rounds = 40;

/** What the reader was shown of a room: `typing`, or the message's number. */
function seenIn(room: string, { method, args }: { method: string; args: unknown[] }): string[] {
  const shown = args[0] as { requestId?: string; content?: string };
  if (shown.requestId !== room) return [];
  return [method === 'TypingIndicator' ? 'typing' : shown.content!];
}

for (const { name, skip, start } of bothBridges) {
  test(`typing through a hub never arrives behind the message that follows it, in front of ${name}`, {
    skip,
  }, async (t) => {
    const redis = await startRedis(t);
    const flags = [...patient, '--redis', redis.url, '--bridge', (await start(t)).url];
    const [a, b] = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
    await force(a, 100);
    const reader = await join(t, b.edge, 'chat', 'reader');
    const senders = await Promise.all(rooms.map((room) => join(t, a.edge, 'chat', `sender of ${room}`)));
    for (const [n, room] of rooms.entries()) {
      await reader.connection.invoke('JoinRoom', room);
      await senders[n]!.connection.invoke('JoinRoom', room);
    }
    const play = async (room: string, n: number) => {
      for (let round = 0; round < rounds; round++) {
        await senders[n]!.connection.invoke('SendTyping', room, round % 2 === 0);
        const body = messageOf(room, String(round)) as { message: object };
        const message = { ...body.message, senderId: `sender of ${room}` };
        // Through either replica: the one that the reader is at, and the one that it is not.
        const { listen } = (n + round) % 2 === 0 ? a : b;
        assert.deepEqual(await call(listen, 'chat/message', { ...body, message }), broadcast);
      }
    };
    await Promise.all(rooms.map(play));

    for (const room of rooms) {
      const seen = () => reader.received.flatMap((message) => seenIn(room, message));
      await until(() => seen().length >= 2 * rounds, { what: () => `all of ${room}; seen ${seen()}` });
      const messages = seen().filter((each) => each !== 'typing');
      assert.deepEqual(
        messages,
        Array.from({ length: rounds }, (_, round) => String(round)),
        room,
      );
      // Typing that came after a message may be shown before it: the two lanes race in that direction.
      for (const [round, message] of messages.entries()) {
        const before = seen().slice(0, seen().indexOf(message));
        const typed = before.filter((each) => each === 'typing').length;
        assert.ok(typed > round, `message ${message} overtook its typing in ${room}: ${seen()}`);
      }
    }
  });
}
