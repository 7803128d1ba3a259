// At 100 percent nobody is shown by stream what the bridge keeps from them: rooms that it refused, by exception or in
// silence, groups of a connect that it aborted or has not ended yet, and rooms that were left.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { call, jwtSecret, startBridge } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { type HubClient, makeToken, openRaw, type RawClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { broadcast, force, messageOf, say, shownOf } from './operating.ts';
import { join, startSidecar } from './sidecar.ts';

const joins = ['JoinRoom', 'SubscribeToTicket', 'JoinSession'];

/** Bridges that refuse the room `throws` by exception, the room `silent` without a word, and the connects of `nobody`. */
const refusingBridges = [
  {
    name: 'the toy bridge',
    skip: false as const,
    async start(t: TestContext) {
      const bridge = await startBridge(t);
      bridge.onInvoke = ({ method, args: [room] }) => {
        if (!joins.includes(method)) return undefined;
        return room === 'throws' ? 'throw' : room === 'silent' ? 'skip' : undefined;
      };
      bridge.onConnect = (_, user) => (user === 'nobody' ? 'abort' : undefined);
      return bridge;
    },
  },
  {
    name: 'the reference bridge',
    skip: noDotnet,
    start: (t: TestContext) =>
      startReferenceBridge(t, {
        messagePack: true,
        refuse: { throwing: ['throws'], silent: ['silent'], users: ['nobody'] },
      }),
  },
];

for (const { name, skip, start } of refusingBridges) {
  test(`what ${name} refuses is not shown by stream either`, { skip }, async (t) => {
    const redis = await startRedis(t);
    const bridge = await start(t);
    const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url]);
    const { edge, listen } = sidecar;
    await force(sidecar, 100);
    const send = async (path: string, body: object) => assert.deepEqual(await call(listen, path, body), broadcast);
    const protocols = name === 'the toy bridge' ? (['json'] as const) : (['json', 'messagepack'] as const);

    await t.test('a room refused by exception or in silence, on every hub', async (t) => {
      for (const protocol of protocols) {
        const chat = await join(t, edge, 'chat', 'u1', { protocol });
        const ticket = await join(t, edge, 'ticket', 'u1', { protocol });
        const remote = await join(t, edge, 'remote-access', 'u1', { protocol });
        for (const [{ connection }, method, ...more] of [
          [chat, 'JoinRoom'],
          [ticket, 'SubscribeToTicket'],
          [remote, 'JoinSession', 'viewer'],
        ] as const) {
          await assert.rejects(connection.invoke(method, 'throws', ...more));
          await connection.invoke(method, 'silent', ...more);
          await connection.invoke(method, `open ${protocol}`, ...more);
        }
        for (const room of ['throws', 'silent', `open ${protocol}`]) {
          await send('chat/message', messageOf(room, 'hi', ''));
          await send('ticket/task-status', { event_id: '', request_id: room, status: 'done' });
          await send('remote-access/ended', { event_id: '', session_id: room, reason: room });
        }
        for (const [client, expected] of [
          [chat, ['ReceiveMessage', 'TaskStatusChanged']],
          [ticket, ['TaskStatusChanged']],
          [remote, ['SessionEnded']],
        ] as [HubClient, string[]][]) {
          const shown = () => client.received.filter(({ method }) => !/Joined$|Subscribed$/.test(method));
          await until(() => shown().length >= expected.length, { what: `${expected} of the open room` });
          assert.deepEqual(
            shown().map(({ method }) => method),
            expected,
            `${protocol}: ${JSON.stringify(shown())}`,
          );
        }
      }
    });

    await t.test('the groups of a connect that was aborted', async (t) => {
      const token = await makeToken({ sub: 'nobody' }, jwtSecret);
      const sendToBoth = async (n: number) => {
        for (const user of ['nobody', 'u1']) {
          await send('notification/send', { event_id: '', user_id: user, notification: n });
          const session = { sessionId: String(n), agentId: 'a', requestId: 'r' };
          await send('remote-access/auto-start', { event_id: '', requester_id: user, session });
        }
      };
      const others = await Promise.all(['chat', 'notification'].map((hub) => join(t, edge, hub, 'u1')));
      await until(() => others[1]!.of('Connected').length === 1);
      const refused: RawClient[] = [];
      for (let n = 1; n <= 5; n++) {
        for (const hub of ['chat', 'notification']) {
          const client = await openRaw(t, `${edge}/hubs/${hub}`, token);
          client.shakeHands();
          refused.push(client);
        }
        await sendToBoth(n);
      }
      await until(() => refused.every(({ closed }) => closed !== undefined), {
        what: 'the aborted connections to end',
      });
      await sendToBoth(6);
      await until(() => others[1]!.of('RemoteSessionAutoStart').length === 6, { what: 'what the others are owed' });
      for (const { records } of refused) {
        assert.deepEqual(
          records.filter((record) => record.includes('"type":1')),
          [],
          'nothing but handshake and close',
        );
      }
    });

    await t.test('a room, ticket or session that was left', async (t) => {
      const [leaving, staying] = [await join(t, edge, 'chat', 'u1'), await join(t, edge, 'chat', 'u2')];
      for (const { connection } of [leaving, staying]) await connection.invoke('JoinRoom', 'left');
      await say(sidecar, 'left', 'before');
      await until(() => shownOf(leaving, 'left').length === 1);
      await leaving.connection.invoke('LeaveRoom', 'left');
      await say(sidecar, 'left', 'after');
      await leaving.connection.invoke('JoinRoom', 'sentinel');
      await say(sidecar, 'sentinel', 'the end');
      await until(() => shownOf(leaving, 'sentinel').length === 1);
      assert.deepEqual([shownOf(leaving, 'left'), shownOf(staying, 'left')], [['before'], ['before', 'after']]);

      const ticket = await join(t, edge, 'ticket', 'u1');
      await ticket.connection.invoke('SubscribeToTicket', 'left');
      await ticket.connection.invoke('SubscribeToUserTickets');
      await ticket.connection.invoke('UnsubscribeFromTicket', 'left');
      await ticket.connection.invoke('UnsubscribeFromUserTickets');
      await ticket.connection.invoke('SubscribeToTicket', 'sentinel');
      await send('ticket/task-status', { event_id: '', request_id: 'left', status: 'after' });
      await send('ticket/new', { event_id: '', requester_id: 'u1', ticket: {} });
      await send('ticket/task-status', { event_id: '', request_id: 'sentinel', status: 'the end' });
      await until(() => ticket.of('TaskStatusChanged').length > 0);
      assert.equal(ticket.of('NewTicket').length, 0);
      assert.match(ticket.of('TaskStatusChanged')[0]!.raw, /the end/);

      const remote = await join(t, edge, 'remote-access', 'u1');
      await remote.connection.invoke('JoinSession', 'left', 'viewer');
      await remote.connection.invoke('LeaveSession', 'left');
      await remote.connection.invoke('JoinSession', 'sentinel', 'viewer');
      for (const session of ['left', 'sentinel']) {
        await send('remote-access/ended', { event_id: '', session_id: session, reason: session });
      }
      await until(() => remote.of('SessionEnded').length > 0);
      assert.match(remote.of('SessionEnded')[0]!.raw, /sentinel/);
    });
  });
}

test('while a connect goes on at the bridge its groups are owed nothing by stream', { skip: noDotnet }, async (t) => {
  const redis = await startRedis(t);
  const bridge = await startReferenceBridge(t, { testSwitches: true });
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url]);
  await force(sidecar, 100);
  const notify = async (n: number) => {
    const body = { event_id: '', user_id: 'u1', notification: n };
    assert.deepEqual(await call(sidecar.listen, 'notification/send', body), broadcast);
  };
  const early = await join(t, sidecar.edge, 'notification', 'u1');
  await until(() => early.of('Connected').length === 1);
  await bridge.slow(700, 'connect');
  const token = await makeToken({ sub: 'u1' }, jwtSecret);
  const client = await openRaw(t, `${sidecar.edge}/hubs/notification`, token);
  client.shakeHands();
  await until(() => client.records.length === 1, { what: 'the answer to the handshake' });
  await notify(1);
  await until(() => early.of('Notification').length === 1);
  assert.deepEqual(client.records, ['{}'], 'the connect goes on');
  await until(() => client.records.length === 2, { what: 'the end of the connect' });
  await notify(2);
  await until(() => client.records.length === 3, { what: 'what it is owed' });
  assert.match(client.records[1]!, /"Connected"/);
  assert.match(client.records[2]!, /"Notification","arguments":\[2\]/);
});
