// Typing through the bridge's hub: who types is told while the stream lane is in use, and the members whom a note may still
// be on its way to are fenced before the sender's next message.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextTurn, setUp } from './proxied.ts';

test('a client that types is told with its room, in either protocol and any case, while the stream lane is in use', () => {
  const { proxied, joined, typings } = setUp();
  const client = joined('r1', { user: 'ada' });
  client.invoke('SendTyping', ['r1', true]);
  assert.deepEqual(typings, []);
  proxied.provesConnects = true;
  client.invoke('sendtyping', ['r1', false]);
  joined('r2', { user: 'ben', protocol: 'messagepack' }).invoke('SendTyping', ['r2', true]);
  assert.deepEqual(typings, [
    { room: 'r1', user: 'ada' },
    { room: 'r2', user: 'ben' },
  ]);
});

test('what is no typing, empty, not bound, or of nobody is not told', () => {
  const { proxied, joined, typings } = setUp();
  proxied.provesConnects = true;
  const client = joined('r1', { user: 'ada' });
  client.invoke('MarkRead', ['r1', ['m']]);
  client.invoke('SendTyping', ['', true]);
  client.invoke('SendTyping', ['r1']);
  client.invoke('Nope', ['SendTyping']);
  joined('r1', { user: null }).invoke('SendTyping', ['r1', true]);
  assert.deepEqual(typings, []);
});

test('the members of the groups are fenced, and get what follows in the room behind what the bridge still sends', async () => {
  const { proxied, joined, deliver } = setUp();
  const [member, stranger] = [joined('r1'), joined('r2')];
  proxied.fenceMembers('r1', [{ hub: 'chat', group: 'request:r1', method: 'M' }]);
  assert.deepEqual([member.fences.length, stranger.fences.length], [1, 0]);
  await deliver('r1', 'message');
  await deliver('r2', 'elsewhere');
  assert.deepEqual([member.got, stranger.got], [[], ['log elsewhere']]);
  member.fenceComesBack(member.invocation('TypingIndicator', ['typing']));
  await nextTurn();
  assert.deepEqual(member.got, ['bridge typing', 'log message']);
});
