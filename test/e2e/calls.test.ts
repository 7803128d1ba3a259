// Every call of legacy-bridge.md's table, end to end: the backend's HTTP, a real Redis, the real client.
// What arrives is compared as text, so that nulls, defaults and numbers are the bridge's to the letter.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { join, programs, startSidecar } from './sidecar.ts';

const message = { id: 'm1', requestId: 'r1', content: 'hi', createdAt: '2026-01-16T10:30:00Z' };
const chatMessage =
  '{"id":"m1","requestId":"r1","senderId":null,"sender":null,"content":"hi","sequenceNumber":0,"isScreenshot":false,' +
  '"screenshotFileName":null,"isRead":false,"createdAt":"2026-01-16T10:30:00Z","updatedAt":null,"clientTempId":null}';
const session = { sessionId: 's1', agentId: 'ag', requestId: 'r1' };
const remoteSession =
  '{"sessionId":"s1","agentId":"ag","agentName":null,"requestId":"r1","requestTitle":null,"mode":"view",' +
  '"autoApproved":true,"isReconnection":false}';
const uacText = 'Waiting for user to complete UAC prompt...';

/** Path, body without event_id, and what each client receives: `client method argument`. */
const table: [path: string, body: object, received: [client: string, method: string, argument: string][]][] = [
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

async function connectAll(t: TestContext, edge: string): Promise<Record<string, HubClient>> {
  const clients = {
    chat: await join(t, edge, 'chat', 'u1'),
    ticket: await join(t, edge, 'ticket', 'u1'),
    'ticket of u2': await join(t, edge, 'ticket', 'u2'),
    notification: await join(t, edge, 'notification', 'u1'),
    'remote-access': await join(t, edge, 'remote-access', 'u1'),
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

function record(method: string, argument: string): string {
  return `{"type":1,"target":"${method}","arguments":[${argument}]}`;
}

for (const { name, options } of programs) {
  test(`${name} delivers every call of the contract on Redis, to the letter`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, ['--redis', redis.url], options);
    const clients = await connectAll(t, edge);
    const expected = new Map(Object.keys(clients).map((client) => [client, [] as string[]]));
    for (const [index, [path, body, received]] of table.entries()) {
      await t.test(`${path} #${index}`, async () => {
        const answer = await call(listen, path, { event_id: `event-${index}`, ...body });
        assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
        for (const [client, method, argument] of received) expected.get(client)!.push(record(method, argument));
        for (const [client, records] of expected) {
          await until(() => clients[client]!.received.length >= records.length, {
            what: `${client} to receive ${path}`,
          });
        }
        const repeated = await call(listen, path, { event_id: `event-${index}`, ...body });
        assert.deepEqual(repeated, { status: 200, body: { duplicate: true } });
      });
    }
    await t.test('nobody received anything else, and nothing twice', async () => {
      await call(listen, 'chat/message', { event_id: 'last', request_id: 'r1', message });
      expected.get('chat')!.push(record('ReceiveMessage', chatMessage));
      await until(() => clients.chat!.received.length >= expected.get('chat')!.length);
      for (const [client, records] of expected) {
        assert.deepEqual(
          clients[client]!.received.map(({ raw }) => raw),
          records,
          client,
        );
      }
    });
  });

  test(`${name} refuses what the bridge refuses, and delivers none of it`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, ['--redis', redis.url], options);
    const chat = await join(t, edge, 'chat', 'u1');
    await chat.connection.invoke('JoinRoom', 'r1');
    const good = { event_id: 'x', request_id: 'r1', message };
    assert.equal((await call(listen, 'chat/nope', good)).status, 404);
    assert.equal((await call(listen, 'remote-access/control-changed', good)).status, 404);
    assert.equal((await call(listen, 'chat/message', good, 'wrong')).status, 403);
    assert.equal((await fetch(`${listen}/internal/chat/message`, { method: 'POST' })).status, 401);
    const { status, body } = await call(listen, 'chat/message', { event_id: 'x', message });
    assert.equal(status, 400);
    assert.match(JSON.stringify(body), /request_id/);
    const tooLarge = await call(listen, 'chat/message', { ...good, filler: 'x'.repeat(30_000_000) }).catch(
      () => undefined,
    );
    assert.ok(tooLarge === undefined || tooLarge.status === 413);
    assert.deepEqual(await call(listen, 'chat/message', good), { status: 200, body: { broadcast: true } });
    await until(() => chat.of('ReceiveMessage').length === 1);
    assert.equal(chat.received.length, 2, 'RoomJoined and the one good message');
  });

  test(`${name} never takes an empty event_id for a duplicate`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, ['--redis', redis.url], options);
    const chat = await join(t, edge, 'chat', 'u1');
    await chat.connection.invoke('JoinRoom', 'r1');
    for (let i = 0; i < 3; i++) {
      const answer = await call(listen, 'chat/message', { event_id: '', request_id: 'r1', message });
      assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
    }
    await until(() => chat.of('ReceiveMessage').length === 3);
  });
}
