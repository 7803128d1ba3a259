// The test-drive: every call of the backend and every method of its hubs, with the real client. In comes a running system; out go
// subtests. What arrives is compared as text, so that nulls, defaults and numbers are the bridge's to the letter.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { call } from '../support/bridge.ts';
import { type ConnectOptions, HttpTransportType, type HubClient, type Received } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { join } from './sidecar.ts';

/** Every way in which a client may speak to a hub, but JSON over WebSockets, which is what is left out everywhere else. */
export const clientKinds = {
  'MessagePack over WebSockets': { protocol: 'messagepack' },
  'JSON over server-sent events': { transport: HttpTransportType.ServerSentEvents },
  'JSON over long polling': { transport: HttpTransportType.LongPolling },
  'MessagePack over long polling': { transport: HttpTransportType.LongPolling, protocol: 'messagepack' },
} satisfies Record<string, ConnectOptions>;

export const message = { id: 'm1', requestId: 'r1', content: 'hi', createdAt: '2026-01-16T10:30:00Z' };
const chatMessage =
  '{"id":"m1","requestId":"r1","senderId":null,"sender":null,"content":"hi","sequenceNumber":0,"isScreenshot":false,' +
  '"screenshotFileName":null,"isRead":false,"createdAt":"2026-01-16T10:30:00Z","updatedAt":null,"clientTempId":null}';
const session = { sessionId: 's1', agentId: 'ag', requestId: 'r1' };
const remoteSession =
  '{"sessionId":"s1","agentId":"ag","agentName":null,"requestId":"r1","requestTitle":null,"mode":"view",' +
  '"autoApproved":true,"isReconnection":false}';
const uacText = 'Waiting for user to complete UAC prompt...';

/** Path, body without event_id, and what each client receives: `client method argument`. */
const calls: [path: string, body: object, received: [client: string, method: string, argument: string][]][] = [
  ['chat/message', { request_id: 'r1', message }, [['chat', 'ReceiveMessage', chatMessage]]],
  [
    'chat/message',
    {
      request_id: 'r1',
      message: {
        ...message,
        senderId: 'u2',
        sender: { id: 'u2', username: 'jo', extra: 1 },
        sequenceNumber: '7',
        isRead: true,
        dropped: 1,
      },
    },
    [
      [
        'chat',
        'ReceiveMessage',
        '{"id":"m1","requestId":"r1","senderId":"u2","sender":{"id":"u2","username":"jo","fullName":null,"email":null},' +
          '"content":"hi","sequenceNumber":7,"isScreenshot":false,"screenshotFileName":null,"isRead":true,' +
          '"createdAt":"2026-01-16T10:30:00Z","updatedAt":null,"clientTempId":null}',
      ],
    ],
  ],
  [
    'chat/typing',
    { request_id: 'r1', user_id: 'u9', is_typing: true },
    [['chat', 'TypingIndicator', '{"requestId":"r1","userId":"u9","isTyping":true}']],
  ],
  [
    'chat/typing',
    { request_id: 'r1', user_id: 'u9' },
    [['chat', 'TypingIndicator', '{"requestId":"r1","userId":"u9","isTyping":false}']],
  ],
  [
    'chat/read-status',
    { request_id: 'r1', user_id: 'u9', message_ids: ['a', null] },
    [['chat', 'ReadStatusUpdate', '{"requestId":"r1","userId":"u9","messageIds":["a",null]}']],
  ],
  [
    'ticket/update',
    { request_id: 'r1', update: { type: 'assigned', data: { b: 1, a: null }, requestId: 'r1' } },
    [
      ['chat', 'TicketUpdate', '{"type":"assigned","data":{"b":1,"a":null},"requestId":"r1"}'],
      ['ticket', 'TicketUpdate', '{"type":"assigned","data":{"b":1,"a":null},"requestId":"r1"}'],
    ],
  ],
  [
    'ticket/task-status',
    { request_id: 'r1', status: 'open' },
    [
      ['chat', 'TaskStatusChanged', '{"requestId":"r1","status":"open","changedBy":null}'],
      ['ticket', 'TaskStatusChanged', '{"requestId":"r1","status":"open","changedBy":null}'],
    ],
  ],
  [
    'ticket/new',
    { requester_id: 'u1', assigned_to_id: 'u2', ticket: { a: 1 } },
    [
      ['ticket', 'NewTicket', '{"a":1}'],
      ['ticket of u2', 'NewTicket', '{"a":1}'],
    ],
  ],
  ['ticket/new', { requester_id: 'u1', assigned_to_id: '', ticket: 'text' }, [['ticket', 'NewTicket', '"text"']]],
  [
    'ticket/new',
    { requester_id: 'u1', assigned_to_id: 'u1', ticket: { both: 1 } },
    [
      ['ticket', 'NewTicket', '{"both":1}'],
      ['ticket', 'NewTicket', '{"both":1}'],
    ],
  ],
  ['ticket/system-message', { request_id: 'r1', type: 'status', message }, [['chat', 'ReceiveMessage', chatMessage]]],
  ['notification/new-message', { request_id: 'r1', message, sender_id: 'u2' }, []],
  [
    'notification/send',
    { user_id: 'u1', notification: { n: 1.5, list: [null] } },
    [['notification', 'Notification', '{"n":1.5,"list":[null]}']],
  ],
  [
    'notification/subscription-added',
    { user_id: 'u1', request_id: 'r1' },
    [['notification', 'SubscriptionAdded', '{"requestId":"r1"}']],
  ],
  [
    'notification/subscription-removed',
    { user_id: 'u1', request_id: 'r1' },
    [['notification', 'SubscriptionRemoved', '{"requestId":"r1"}']],
  ],
  [
    'remote-access/auto-start',
    { requester_id: 'u1', session },
    [
      ['notification', 'RemoteSessionAutoStart', remoteSession],
      ['chat', 'RemoteSessionAutoStart', remoteSession],
    ],
  ],
  [
    'remote-access/ended',
    { session_id: 's1', reason: 'done' },
    [['remote-access', 'SessionEnded', '{"sessionId":"s1","reason":"done","endedBy":null}']],
  ],
  [
    'remote-access/reconnect',
    { requester_id: 'u1', session: { ...session, mode: 'control', autoApproved: false, isReconnection: true } },
    [
      [
        'notification',
        'RemoteSessionReconnect',
        '{"sessionId":"s1","agentId":"ag","agentName":null,"requestId":"r1","requestTitle":null,"mode":"control",' +
          '"autoApproved":false,"isReconnection":true}',
      ],
    ],
  ],
  [
    'remote-access/uac-detected',
    { session_id: 's1', agent_id: 'ag' },
    [['remote-access', 'UacDetected', `{"sessionId":"s1","message":"${uacText}"}`]],
  ],
  [
    'remote-access/uac-dismissed',
    { session_id: 's1', agent_id: 'ag' },
    [['remote-access', 'UacDismissed', '{"sessionId":"s1"}']],
  ],
];

async function connectAll(t: TestContext, edge: string, kind: ConnectOptions): Promise<Record<string, HubClient>> {
  const clients = {
    chat: await join(t, edge, 'chat', 'u1', kind),
    ticket: await join(t, edge, 'ticket', 'u1', kind),
    'ticket of u2': await join(t, edge, 'ticket', 'u2', kind),
    notification: await join(t, edge, 'notification', 'u1', kind),
    'remote-access': await join(t, edge, 'remote-access', 'u1', kind),
  };
  await clients.chat.connection.invoke('JoinRoom', 'r1');
  await clients.ticket.connection.invoke('SubscribeToTicket', 'r1');
  await clients.ticket.connection.invoke('SubscribeToUserTickets');
  await clients['ticket of u2'].connection.invoke('SubscribeToUserTickets');
  await clients['remote-access'].connection.invoke('JoinSession', 's1', 'agent');
  await until(() => clients.notification.of('Connected').length === 1);
  for (const client of Object.values(clients)) client.received.length = 0;
  return clients;
}

/** A good body for each call of the contract, but for its `event_id`. */
export const callBodies = new Map(calls.map(([path, body]) => [path, body]));

function record(method: string, argument: string): string {
  return `{"type":1,"target":"${method}","arguments":[${argument}]}`;
}

/** A message's text as a JSON client gets it, the members of a MessagePack client's in their order. */
function textOf({ raw, method, args }: Received): string {
  return raw || record(method, JSON.stringify(args[0]));
}

/**
 * Every call of the contract, as the backend makes it; each once and its repeat once.
 * @param kinds of clients that are there for all of it
 */
export async function playCalls(
  t: TestContext,
  { listen, edge }: { listen: string; edge: string },
  kinds: ConnectOptions[] = [{}],
): Promise<void> {
  const audiences: Record<string, HubClient>[] = [];
  for (const kind of kinds) audiences.push(await connectAll(t, edge, kind));
  for (const [index, { 'remote-access': remote }] of audiences.entries()) {
    const joinedLater = audiences.length - 1 - index;
    await until(() => remote!.received.length === joinedLater, { what: 'those who have joined the session later' });
    remote!.received.length = 0;
  }
  const expected = new Map(Object.keys(audiences[0]!).map((client) => [client, [] as string[]]));
  const untilReceived = async (what: string) => {
    for (const clients of audiences) {
      for (const [client, records] of expected) {
        await until(() => clients[client]!.received.length >= records.length, {
          what: `${client} to receive ${what}`,
        });
      }
    }
  };
  for (const [index, [path, body, received]] of calls.entries()) {
    await t.test(`${path} #${index}`, async () => {
      const answer = await call(listen, path, { event_id: `event-${index}`, ...body });
      assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
      for (const [client, method, argument] of received) expected.get(client)!.push(record(method, argument));
      await untilReceived(path);
      const repeated = await call(listen, path, { event_id: `event-${index}`, ...body });
      assert.deepEqual(repeated, { status: 200, body: { duplicate: true } });
    });
  }
  await t.test('nobody received anything else, and nothing twice', async () => {
    await call(listen, 'chat/message', { event_id: 'last', request_id: 'r1', message });
    expected.get('chat')!.push(record('ReceiveMessage', chatMessage));
    await untilReceived('the last one');
    for (const clients of audiences) {
      for (const [client, records] of expected)
        assert.deepEqual(clients[client]!.received.map(textOf), records, client);
    }
  });
}

const payload = { sdp: 'v=0', nested: { A: 1, b: null } };

/** What u1 invokes on each hub; what u1 gets; what u2, in the same groups, gets. In this order on one connection. */
const methods: Record<string, [method: string, args: unknown[], caller: unknown[][], others: unknown[][]][]> = {
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

export async function playHub(
  t: TestContext,
  hub: string,
  callerUrl: string,
  otherUrl: string,
  kinds: { caller?: ConnectOptions; other?: ConnectOptions } = {},
): Promise<void> {
  const caller = await join(t, callerUrl, hub, 'u1', kinds.caller);
  const other = await join(t, otherUrl, hub, 'u2', kinds.other);
  if (hub === 'notification') await until(() => caller.received.length === 1 && other.received.length === 1);
  const [method, args] = joinOther[hub] ?? [];
  if (method !== undefined) await other.connection.invoke(method, ...args!);
  for (const client of [caller, other]) client.received.length = 0;

  const expected: { caller: unknown[][]; other: unknown[][] } = { caller: [], other: [] };
  for (const [name, values, toCaller, toOthers] of methods[hub]!) {
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

export const hubNames = Object.keys(methods);
