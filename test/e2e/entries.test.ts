// What crossfade writes: entries that other programs and later versions can read, coalesced where that is due, and the
// metrics that the operators' dashboards query.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apiKey, call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { join, patient, startSidecar } from './sidecar.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function asObject(fields: string[]): Record<string, string> {
  return Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]!]] : [])));
}

test('an entry has the fields of the streams, its deliveries, and the trace of its call', async (t) => {
  const redis = await startRedis(t);
  const { listen } = await startSidecar(t, [...patient, '--redis', redis.url, '--instance', 'pod-7']);
  const body =
    '{"event_id":"","request_id":"r","update":{"type":"assigned","data":{"n":1.10,"n":-0.0},"requestId":"r"}}';
  const response = await fetch(`${listen}/internal/ticket/update`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-internal-api-key': apiKey,
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    },
    body,
  });
  assert.deepEqual(await response.json(), { broadcast: true });
  const [[, fields]] = (await redis.client().xrange('events:ticket', '-', '+')) as [[string, string[]]];
  const { event_id, timestamp, metadata, ...rest } = asObject(fields);
  assert.match(event_id!, uuid, 'an empty id becomes one of its own');
  assert.ok(Math.abs(Date.parse(timestamp!) - Date.now()) < 60_000);
  assert.deepEqual(rest, {
    event_type: 'assignment_change',
    room_id: 'r',
    payload: '{"type":"assigned","data":{"n":1.10,"n":-0.0},"requestId":"r"}',
  });
  const { version, ...known } = JSON.parse(metadata!);
  assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.deepEqual(known, {
    trace_id: '0af7651916cd43dd8448eb211c80319c',
    source_instance: 'pod-7',
    deliveries: [
      { hub: 'chat', group: 'request:r', method: 'TicketUpdate' },
      { hub: 'ticket', group: 'ticket:r', method: 'TicketUpdate' },
    ],
  });
});

test('typing of one user is one entry a window with its latest state; read receipts are united; others stay apart', async (t) => {
  const redis = await startRedis(t);
  const { listen, edge, admin } = await startSidecar(t, [...patient, '--redis', redis.url, '--coalesce-window', '600']);
  const client = await join(t, edge, 'chat', 'reader');
  await client.connection.invoke('JoinRoom', 'r');
  const typing = (id: string, user: string, isTyping: boolean) =>
    call(listen, 'chat/typing', { event_id: id, request_id: 'r', user_id: user, is_typing: isTyping });
  const read = (id: string, ids: string[]) =>
    call(listen, 'chat/read-status', { event_id: id, request_id: 'r', user_id: 'u1', message_ids: ids });
  const answers = await Promise.all([
    ...Array.from({ length: 9 }, (_, i) => typing(`t${i}`, 'u1', i % 2 === 0)),
    typing('other', 'u2', true),
  ]);
  assert.ok(answers.every(({ body }) => (body as { broadcast: boolean }).broadcast));
  await typing('t9', 'u1', false);
  await read('r1', ['a', 'b']);
  await read('r2', ['b', 'c']);
  assert.deepEqual(await typing('t3', 'u1', true), { status: 200, body: { duplicate: true } });

  await until(() => client.of('TypingIndicator').length === 2 && client.of('ReadStatusUpdate').length === 1);
  const shown = client.of('TypingIndicator').map(({ args }) => args[0]);
  assert.deepEqual(shown, [
    { requestId: 'r', userId: 'u1', isTyping: false },
    { requestId: 'r', userId: 'u2', isTyping: true },
  ]);
  assert.deepEqual(client.of('ReadStatusUpdate')[0]!.args, [
    { requestId: 'r', userId: 'u1', messageIds: ['a', 'b', 'c'] },
  ]);
  const entries = (await redis.client().xrange('events:chat', '-', '+')).map(([, fields]) => asObject(fields));
  assert.deepEqual(
    entries.map(({ event_type, metadata }) => [event_type, JSON.parse(metadata!).coalesced_count]),
    [
      ['typing_stop', 10],
      ['typing_start', undefined],
      ['read_receipt', 2],
    ],
  );
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  assert.match(metrics, /events_coalesced_total\{event_type="read_receipt"\} 1/);
});

test('a message flushes its room’s windows first and ends its sender’s typing', async (t) => {
  const redis = await startRedis(t);
  const { listen, edge } = await startSidecar(t, [...patient, '--redis', redis.url, '--coalesce-window', '60000']);
  const client = await join(t, edge, 'chat', 'reader');
  await client.connection.invoke('JoinRoom', 'r');
  await call(listen, 'chat/typing', { event_id: 't', request_id: 'r', user_id: 'u1', is_typing: true });
  const message = { id: 'm', requestId: 'r', senderId: 'u2', content: 'hi', createdAt: 'now' };
  await call(listen, 'chat/message', { event_id: 'm', request_id: 'r', message });
  await until(() => client.of('ReceiveMessage').length === 1);
  assert.deepEqual(
    client.received.map(({ method }) => method),
    ['RoomJoined', 'TypingIndicator', 'ReceiveMessage'],
  );
});

test('typing that was opened on another replica before its sender’s message is not shown after it', async (t) => {
  const redis = await startRedis(t);
  const slow = await startSidecar(t, [...patient, '--redis', redis.url, '--coalesce-window', '1500']);
  const other = await startSidecar(t, [...patient, '--redis', redis.url]);
  const reader = await join(t, other.edge, 'chat', 'reader');
  const writer = await join(t, slow.edge, 'chat', 'u1');
  for (const { connection } of [reader, writer]) await connection.invoke('JoinRoom', 'r');
  await writer.connection.invoke('SendTyping', 'r', true);
  const message = { id: 'm', requestId: 'r', senderId: 'u1', content: 'hi', createdAt: 'now' };
  await call(other.listen, 'chat/message', { event_id: 'm', request_id: 'r', message });
  await until(() => reader.of('ReceiveMessage').length === 1);
  const withheld = async () =>
    /entries_withheld_total\{reason="typing"\} 1/.test(await (await fetch(`${other.admin}/metrics`)).text());
  await until(withheld, { what: 'the late typing note to be withheld' });
  assert.equal(reader.of('TypingIndicator').length, 0);
});

test('the metrics that dashboards query are there, with their labels and fine buckets', async (t) => {
  const redis = await startRedis(t);
  const { listen, edge, admin } = await startSidecar(t, [...patient, '--redis', redis.url, '--instance', 'pod-1']);
  const client = await join(t, edge, 'chat', 'reader');
  await client.connection.invoke('JoinRoom', 'r');
  await call(listen, 'ticket/task-status', { event_id: 's', request_id: 'r', status: 'open' });
  await until(() => client.of('TaskStatusChanged').length === 1);
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  for (const line of [
    'event_publish_duration_seconds_bucket{le="0.0005",transport="redis_streams",event_type="status_change"}',
    'event_publish_duration_seconds_bucket{le="5",transport="redis_streams",event_type="status_change"}',
    'event_delivery_duration_seconds_count{event_type="status_change",transport="redis_streams"} 1',
    'event_queue_depth{stream="events:ticket"} 1',
    'event_consumer_lag{stream="events:ticket",consumer_group="signalr-consumers:pod-1"} 0',
    'events_published_total{transport="redis_streams",event_type="status_change",status="success"} 1',
    '# TYPE events_coalesced_total counter',
    '# TYPE event_transport_fallback_total counter',
    'event_dual_write_status 0',
    '# TYPE event_dual_write_success_total counter',
    '# TYPE event_dual_write_failure_total counter',
    'nodejs_eventloop_lag_seconds',
    'process_resident_memory_bytes',
    'crossfade_edge_connections{hub="chat"} 1',
  ]) {
    assert.ok(metrics.includes(line), line);
  }
  assert.deepEqual(await (await fetch(`${admin}/healthz`)).json(), { status: 'alive' });
  const readiness = async () =>
    (await (await fetch(`${admin}/readyz`)).json()) as { status: string; checks: Record<string, { detail: string }> };
  await until(async () => (await readiness()).status === 'ready', { what: 'the first probe to arrive' });
  const { checks } = await readiness();
  assert.deepEqual(Object.keys(checks), ['log', 'probe', 'reader', 'edge', 'audience', 'draining']);
  assert.match(checks.probe!.detail, /^one that was sent \d+\.\d s ago has arrived$/);
});
