// Every method of the four hubs with the real client: what the caller gets, and what the others get, on the caller's
// replica and on another one.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { join, programs, startSidecar } from './sidecar.ts';

const uacText = 'Waiting for user to complete UAC prompt...';
const payload = { sdp: 'v=0', nested: { A: 1, b: null } };

/** What u1 invokes; what u1 gets; what u2, in the same groups, gets. In this order on one connection. */
const table: Record<string, [method: string, args: unknown[], caller: unknown[][], others: unknown[][]][]> = {
  chat: [
    ['JoinRoom', ['r1'], [['RoomJoined', 'r1']], []],
    ['JoinRoom', [''], [], []],
    ['SendTyping', ['r1', true], [], [['TypingIndicator', { requestId: 'r1', userId: 'u1', isTyping: true }]]],
    [
      'MarkRead',
      ['r1', ['m1', 'm2']],
      [],
      [['ReadStatusUpdate', { requestId: 'r1', userId: 'u1', messageIds: ['m1', 'm2'] }]],
    ],
    ['MarkRead', ['r1', []], [], []],
    ['LeaveRoom', ['r1'], [['RoomLeft', 'r1']], []],
  ],
  ticket: [
    ['SubscribeToTicket', ['r1'], [['TicketSubscribed', 'r1']], []],
    ['UnsubscribeFromTicket', ['r1'], [['TicketUnsubscribed', 'r1']], []],
    ['SubscribeToUserTickets', [], [['UserTicketsSubscribed']], []],
    ['UnsubscribeFromUserTickets', [], [['UserTicketsUnsubscribed']], []],
  ],
  notification: [
    ['SetActiveChat', ['r1'], [['ActiveChatSet', 'r1']], []],
    ['SetActiveChat', [null], [['ActiveChatSet', null]], []],
    ['RefreshSubscriptions', [], [['SubscriptionsRefreshed']], []],
  ],
  'remote-access': [
    [
      'JoinSession',
      ['s1', 'agent'],
      [['SessionJoined', { sessionId: 's1', participantType: 'agent' }]],
      [['ParticipantJoined', { sessionId: 's1', participantType: 'agent', userId: 'u1' }]],
    ],
    ['SendSdpOffer', ['s1', payload], [], [['SdpOffer', { sessionId: 's1', payload, fromUserId: 'u1' }]]],
    ['SendSdpAnswer', ['s1', payload], [], [['SdpAnswer', { sessionId: 's1', payload, fromUserId: 'u1' }]]],
    ['SendIceCandidate', ['s1', payload], [], [['IceCandidate', { sessionId: 's1', payload, fromUserId: 'u1' }]]],
    [
      'SendSignal',
      ['s1', 'Custom', { x: 1 }],
      [],
      [['Custom', { sessionId: 's1', payload: { x: 1 }, fromUserId: 'u1' }]],
    ],
    ['SendSignal', ['s1', '', { x: 1 }], [], []],
    ['EnableControl', ['s1'], [], [['ControlEnabled', { sessionId: 's1' }]]],
    ['DisableControl', ['s1'], [], [['ControlDisabled', { sessionId: 's1' }]]],
    ['NotifyUacDetected', ['s1'], [], [['UacDetected', { sessionId: 's1', message: uacText }]]],
    ['NotifyUacDismissed', ['s1'], [], [['UacDismissed', { sessionId: 's1' }]]],
    ['LeaveSession', ['s1'], [['SessionLeft', 's1']], [['ParticipantLeft', { sessionId: 's1', userId: 'u1' }]]],
  ],
};

/** Joins what u1's methods address. */
const joinOther: Record<string, [string, unknown[]]> = {
  chat: ['JoinRoom', ['r1']],
  'remote-access': ['JoinSession', ['s1', 'requester']],
};

async function play(t: TestContext, hub: string, callerUrl: string, otherUrl: string): Promise<void> {
  const caller = await join(t, callerUrl, hub, 'u1');
  const other = await join(t, otherUrl, hub, 'u2');
  if (hub === 'notification') await until(() => caller.received.length === 1 && other.received.length === 1);
  const [method, args] = joinOther[hub] ?? [];
  if (method !== undefined) await other.connection.invoke(method, ...args!);
  for (const client of [caller, other]) client.received.length = 0;

  const expected: { caller: unknown[][]; other: unknown[][] } = { caller: [], other: [] };
  for (const [name, values, toCaller, toOthers] of table[hub]!) {
    assert.equal(await caller.connection.invoke(name, ...values), null, `${name} completes with null`);
    expected.caller.push(...toCaller);
    expected.other.push(...toOthers);
    await until(() => other.received.length >= expected.other.length, { what: `${name} to reach the others` });
  }
  assert.deepEqual(messagesOf(caller), expected.caller);
  assert.deepEqual(messagesOf(other), expected.other);
}

function messagesOf(client: HubClient): unknown[][] {
  return client.received.map(({ method, args }) => [method, ...args]);
}

for (const { name, options } of programs) {
  test(`${name} gives every hub method its effects, on one replica and across two`, async (t) => {
    const redis = await startRedis(t);
    const one = await startSidecar(t, ['--redis', redis.url], options);
    const two = await startSidecar(t, ['--redis', redis.url], options);
    for (const hub of Object.keys(table)) {
      await t.test(`${hub} on one replica`, (t) => play(t, hub, one.edge, one.edge));
      await t.test(`${hub} across replicas`, (t) => play(t, hub, one.edge, two.edge));
    }
  });
}

test('the other participant of a session on another replica learns that one has vanished', async (t) => {
  const redis = await startRedis(t);
  const one = await startSidecar(t, ['--redis', redis.url]);
  const two = await startSidecar(t, ['--redis', redis.url]);
  const agent = await join(t, one.edge, 'remote-access', 'u1');
  const requester = await join(t, two.edge, 'remote-access', 'u2');
  await agent.connection.invoke('JoinSession', 's1', 'agent');
  await requester.connection.invoke('JoinSession', 's1', 'requester');
  await agent.connection.stop();
  await until(() => requester.of('ParticipantLeft').length === 1);
  assert.deepEqual(requester.of('ParticipantLeft')[0]!.args, [{ sessionId: 's1', userId: 'u1' }]);
});

test('the errors of hub methods are those of ASP.NET', async (t) => {
  const redis = await startRedis(t);
  const { edge } = await startSidecar(t, ['--redis', redis.url]);
  const { connection } = await join(t, edge, 'chat', 'u1');
  const failed = "Failed to invoke 'JoinRoom' due to an error on the server.";
  await assert.rejects(connection.invoke('JoinRoom', 5), { message: failed });
  await assert.rejects(connection.invoke('joinroom'), { message: failed });
  await assert.rejects(connection.invoke('Nope'), {
    message: "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist.",
  });
  await connection.send('Nope');
  assert.equal(await connection.invoke('JoinRoom', 'r1'), null, 'a failed send without an id is answered by nothing');
});
