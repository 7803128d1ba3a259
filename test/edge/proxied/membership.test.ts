// Who is in which group, by the bridge's word: what joins, what leaves, and what does neither.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextTurn, record, setUp } from './proxied.ts';

for (const protocol of ['json', 'messagepack'] as const) {
  test(`${protocol}: the confirmation joins and leaves, before its own bytes go on`, () => {
    const { connect, members } = setUp();
    const client = connect('chat', { protocol });
    client.invoke('JoinRoom', ['r'], '0');
    assert.equal(members('chat', 'request:r'), 0, 'an invocation alone joins nothing');
    const message = client.invocation('RoomJoined', ['r']);
    assert.equal(client.bridgeSends(message), message, 'what passes is not copied');
    assert.equal(members('chat', 'request:r'), 1);
    client.bridgeSends(client.completion('0'));
    client.invoke('leaveroom', ['r'], '1');
    client.bridgeSends(client.invocation('RoomLeft', ['r']), client.completion('1'));
    assert.equal(members('chat', 'request:r'), 0);
  });

  test(`${protocol}: an exception, a silent refusal and a confirmation of something else join nothing`, () => {
    const { connect, members } = setUp();
    const client = connect('chat', { protocol });
    client.invoke('JoinRoom', ['failed'], '0');
    client.bridgeSends(client.completion('0', 'no'));
    client.bridgeSends(client.invocation('RoomJoined', ['failed']));
    client.invoke('JoinRoom', ['silent'], '1');
    client.bridgeSends(client.completion('1'));
    client.bridgeSends(client.invocation('RoomJoined', ['silent']));
    client.invoke('JoinRoom', ['r'], '2');
    client.bridgeSends(client.invocation('RoomJoined', ['other']), client.invocation('RoomLeft', ['r']));
    for (const room of ['failed', 'silent', 'r', 'other']) assert.equal(members('chat', `request:${room}`), 0, room);
    client.bridgeSends(client.invocation('RoomJoined', ['r']));
    assert.equal(members('chat', 'request:r'), 1);
  });

  test(`${protocol}: the groups of the connect count from the first completion`, () => {
    const { connect, members } = setUp();
    const client = connect('chat', { protocol });
    client.bridgeSends(client.invocation('ReceiveMessage', ['x']));
    assert.equal(members('chat', 'user:u1'), 0);
    client.bridgeSends(client.completion('whatever', 'no'));
    assert.equal(members('chat', 'user:u1'), 1);
  });
}

test('a join by `send`, which has no completion, works; a later completion ends the wait for it', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  client.invoke('JoinRoom', ['r']);
  client.bridgeSends(client.invocation('RoomJoined', ['r']));
  assert.equal(members('chat', 'request:r'), 1);
  client.invoke('JoinRoom', ['refused']);
  client.invoke('SendTyping', ['r', true], '0');
  client.bridgeSends(client.completion('0'));
  client.bridgeSends(client.invocation('RoomJoined', ['refused']));
  assert.equal(members('chat', 'request:refused'), 0);
});

test('two joins of one room are one membership; the order of joins and leaves is the bridge’s', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  client.invoke('JoinRoom', ['r'], '0');
  client.invoke('JoinRoom', ['r'], '1');
  client.invoke('LeaveRoom', ['r'], '2');
  client.bridgeSends(client.invocation('RoomJoined', ['r']), client.completion('0'));
  client.bridgeSends(client.invocation('RoomJoined', ['r']), client.completion('1'));
  assert.equal(members('chat', 'request:r'), 1);
  client.bridgeSends(client.invocation('RoomLeft', ['r']), client.completion('2'));
  assert.equal(members('chat', 'request:r'), 0);
});

test('of two joins of one room the refused one does not use up the other’s confirmation', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  client.invoke('JoinRoom', ['r'], '0');
  client.invoke('JoinRoom', ['r'], '1');
  client.bridgeSends(client.completion('0', 'not yet'));
  client.bridgeSends(client.invocation('RoomJoined', ['r']), client.completion('1'));
  assert.equal(members('chat', 'request:r'), 1);
});

test('what the method ignores, or cannot be bound to, joins nothing even if a confirmation came', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  for (const [id, args] of [[''], [null], [7], [], ['r', 'r']].entries()) client.invoke('JoinRoom', args, String(id));
  for (const argument of ['', null, 7, 'r']) client.bridgeSends(client.invocation('RoomJoined', [argument]));
  for (const room of ['', '7', 'r']) assert.equal(members('chat', `request:${room}`), 0, room);
});

test('confirmations with an object and without any argument are compared as well', () => {
  const { connect, members } = setUp();
  const remote = connect('remote-access');
  remote.invoke('JoinSession', ['s', 'viewer'], '0');
  remote.bridgeSends(remote.invocation('SessionJoined', [{ participantType: 'agent', sessionId: 's' }]));
  assert.equal(members('remote-access', 'remote-access:s'), 0);
  remote.bridgeSends(remote.invocation('SessionJoined', [{ participantType: 'viewer', sessionId: 's' }]));
  assert.equal(members('remote-access', 'remote-access:s'), 1);
  remote.invoke('LeaveSession', ['s'], '1');
  remote.bridgeSends(remote.invocation('SessionLeft', ['s']));
  assert.equal(members('remote-access', 'remote-access:s'), 0);

  const ticket = connect('ticket');
  ticket.invoke('SubscribeToUserTickets', [], '0');
  ticket.bridgeSends(ticket.invocation('UserTicketsSubscribed', []));
  assert.equal(members('ticket', 'user-tickets:u1'), 1);
});

test('under MessagePack a confirmation may have .NET’s spelling of names', () => {
  const { connect, members } = setUp();
  const client = connect('remote-access', { protocol: 'messagepack' });
  client.invoke('JoinSession', ['s', 'viewer'], '0');
  client.bridgeSends(client.invocation('SessionJoined', [{ SessionId: 's', ParticipantType: 'viewer' }]));
  assert.equal(members('remote-access', 'remote-access:s'), 1);
});

test('the groups of the connect count from the connect’s own message to its user, or from a join that was confirmed', () => {
  const { connect, members } = setUp();
  const client = connect('notification');
  client.bridgeSends(client.invocation('Connected', [{ userId: 'somebody else' }]));
  assert.equal(members('notification', 'notifications:u1'), 0);
  client.bridgeSends(client.invocation('Connected', [{ userId: 'u1' }]));
  assert.equal(members('notification', 'notifications:u1'), 1);

  const joining = connect('chat', { user: 'u2' });
  joining.invoke('JoinRoom', ['r']);
  joining.bridgeSends(joining.invocation('RoomJoined', ['r']));
  assert.equal(members('chat', 'user:u2'), 1);
});

test('a connection whose user is not known is in no group that the user names, and in its rooms', () => {
  const { connect, members } = setUp();
  const chat = connect('chat', { user: null });
  chat.invoke('JoinRoom', ['r'], '0');
  chat.bridgeSends(chat.invocation('RoomJoined', ['r']), chat.completion('0'));
  assert.equal(members('chat', 'user:'), 0);
  assert.equal(members('chat', 'request:r'), 1);
  const ticket = connect('ticket', { user: null });
  ticket.invoke('SubscribeToUserTickets', [], '0');
  ticket.bridgeSends(ticket.invocation('UserTicketsSubscribed', []));
  assert.equal(members('ticket', 'user-tickets:'), 0);
});

test('a client that joins thousands of rooms at once is in every one of them', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  const rooms = Array.from({ length: 3_000 }, (_, i) => `r${i}`);
  client.tap.fromClient(Buffer.concat(rooms.map((room, i) => client.invocation('JoinRoom', [room], String(i)))));
  for (const [i, room] of rooms.entries()) {
    client.bridgeSends(client.invocation('RoomJoined', [room]), client.completion(String(i)));
  }
  for (const room of rooms) assert.equal(members('chat', `request:${room}`), 1, room);
});

test('more joins at once than any client has rooms do not grow without end; the latest still count', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  for (let i = 0; i < 5_001; i++) client.invoke('JoinRoom', [`r${i}`], String(i));
  client.bridgeSends(client.invocation('RoomJoined', ['r0']));
  client.bridgeSends(client.invocation('RoomJoined', ['r5000']));
  assert.equal(members('chat', 'request:r0'), 0);
  assert.equal(members('chat', 'request:r5000'), 1);
});

test('an invocation is understood however its bytes are cut, and whatever order its members have', () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  const bytes = Buffer.concat([
    record({ type: 6 }),
    Buffer.from('{"target":"\\u004aoinRoom","arguments":["r"],"invocationId":"0","type":1}\x1e'),
  ]);
  for (const byte of bytes) client.tap.fromClient(Buffer.from([byte]));
  client.bridgeSends(client.invocation('RoomJoined', ['r']));
  assert.equal(members('chat', 'request:r'), 1);
});

test('a large record in pieces is passed over, and what follows is understood', () => {
  for (const protocol of ['json', 'messagepack'] as const) {
    const { connect, members } = setUp();
    const client = connect('chat', { protocol });
    const large = client.invocation('SendTyping', ['x'.repeat(300_000), true], '0');
    const bytes = Buffer.concat([large, client.invocation('JoinRoom', ['r'], '1')]);
    for (let at = 0; at < bytes.length; at += 40_000) client.tap.fromClient(bytes.subarray(at, at + 40_000));
    client.bridgeSends(client.invocation('RoomJoined', ['r']));
    assert.equal(members('chat', 'request:r'), 1, protocol);
  }
});

test('the end of the connection ends its memberships', async () => {
  const { joined, members, deliver } = setUp();
  const client = joined('r');
  client.tap.ended();
  assert.equal(members('chat', 'request:r'), 0);
  assert.equal(members('chat', 'user:u1'), 0);
  await deliver('r', 'x');
  await nextTurn();
  assert.deepEqual(client.got, []);
});

test("arguments that nest deeper than the hub reads are the hub's to refuse, and harm nothing", () => {
  const { connect, members } = setUp();
  const client = connect('chat');
  const deep = (levels: number): unknown => (levels === 0 ? 'x' : [deep(levels - 1)]);
  client.invoke('JoinRoom', ['r'], '0');
  client.invoke('MarkRead', ['r', deep(100)], '1');
  client.invoke('JoinRoom', [deep(100)], '2');
  client.bridgeSends(client.invocation('RoomJoined', ['r']));
  assert.equal(members('chat', 'request:r'), 1);
});
