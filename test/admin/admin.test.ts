// Who may ask the admin port: the token opens it to everyone, loopback to whoever sits there, but to no page of the web.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { Admin } from '../../src/admin/admin.ts';
import type { Compare } from '../../src/compare/compare.ts';
import type { Completion } from '../../src/cutover/completion.ts';
import type { DryRuns } from '../../src/cutover/dry-runs.ts';
import type { Operator } from '../../src/cutover/operator.ts';
import type { Rollback } from '../../src/cutover/rollback.ts';
import type { Survey } from '../../src/cutover/survey.ts';
import { PeerSignature } from '../../src/peers/peer-signature.ts';
import { Peers } from '../../src/peers/peers.ts';
import type { Plans } from '../../src/plan/plans.ts';
import type { PlannedStatus } from '../../src/plan/report.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { LogThrottle } from '../../src/telemetry/log-throttle.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

/** An admin port on loopback. @returns what answers a request with these headers: its status, and who has rolled back */
async function startAdmin(
  t: TestContext,
  {
    token,
    insecure = false,
    status = async () => ({ percent: 0 }),
  }: { token?: string; insecure?: boolean; status?: () => Promise<object> } = {},
) {
  const rollbacks: string[] = [];
  const rollback = {
    rollBack: async ({ who }: { who: string }) => {
      rollbacks.push(who);
      return { reached: [], notReached: [] };
    },
  } as unknown as Rollback;
  const metrics = createMetrics();
  const admin = await Admin.listen({
    listen: { host: '127.0.0.1', port: 0 },
    token,
    insecure,
    faults: new Faults(silentLogger, metrics),
    metrics,
    beforeScrape: async () => {},
    readiness: () => ({}),
    check: async () => ({}),
    drain: () => ({ remaining: 0, done: true }),
    live: { watch: () => assert.fail('nobody watches') },
    compare: { compare: {} as Compare, clock: systemClock },
    cutover: {
      operator: {} as Operator,
      rollback,
      dryRuns: {} as DryRuns,
      completion: {} as Completion,
      plans: {} as Plans,
      status: status as () => Promise<PlannedStatus>,
    },
    peers: {
      instance: 'here',
      edge: undefined,
      clock: systemClock,
      rollback,
      survey: {} as Survey,
      uncertain: { hear: () => ({ read: true }), decided() {} },
      outage: { hear: async (news) => news },
      readerWatch: { reads: true },
      signature: new PeerSignature({ instance: 'here', secret: token, clock: systemClock }),
      saysUnsigned: new LogThrottle(systemClock, 1_000),
      logger: silentLogger,
    },
  });
  t.after(() => admin.close());
  const { port } = admin.address;
  const ask = async (method: string, path: string, headers: Record<string, string>) => {
    const asked = request({ host: '127.0.0.1', port, method, path, headers, agent: false });
    asked.end(method === 'POST' ? '{"by":"mallory"}' : undefined);
    const [answer] = await once(asked, 'response');
    answer.resume();
    return answer.statusCode as number;
  };
  return { ask, port, rollbacks, metrics };
}

test('whoever sits at the machine is let in, by every name that loopback has', async (t) => {
  const { ask, port } = await startAdmin(t);
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, 'localhost']) {
    assert.equal(await ask('GET', '/cutover', { host }), 200, host);
  }
  const host = `127.0.0.1:${port}`;
  assert.equal(
    await ask('POST', '/cutover/rollback', { host, origin: `http://${host}` }),
    200,
    'the page of this port',
  );
});

test('a page of another site cannot operate through the operator’s browser', async (t) => {
  for (const insecure of [false, true]) {
    const { ask, port, rollbacks } = await startAdmin(t, { insecure });
    const host = `127.0.0.1:${port}`;
    for (const origin of ['http://evil.example', 'null', `https://${host}`, 'http://127.0.0.1:8080']) {
      assert.equal(await ask('POST', '/cutover/rollback', { host, origin, 'content-type': 'text/plain' }), 401, origin);
    }
    assert.deepEqual(rollbacks, []);
  }
});

test('a page whose own name points to loopback cannot either', async (t) => {
  const { ask, port, rollbacks } = await startAdmin(t);
  const host = `evil.example:${port}`;
  assert.equal(await ask('GET', '/cutover', { host }), 401);
  assert.equal(await ask('POST', '/cutover/rollback', { host, origin: `http://${host}` }), 401);
  assert.deepEqual(rollbacks, []);
});

test('the token opens the port under every name', async (t) => {
  const { ask } = await startAdmin(t, { token: 'secret' });
  const authorization = 'Bearer secret';
  assert.equal(await ask('GET', '/cutover', { host: 'admin.example', authorization }), 200);
  assert.equal(await ask('GET', '/cutover', { host: 'admin.example', authorization: 'Bearer other' }), 401);
});

test('where there is a token, a page on loopback reads without it and changes nothing', async (t) => {
  const { ask, port, rollbacks } = await startAdmin(t, { token: 'secret' });
  const host = `127.0.0.1:${port}`;
  const origin = `http://${host}`;
  assert.equal(await ask('GET', '/cutover', { host }), 200);
  assert.equal(await ask('POST', '/cutover/rollback', { host, origin }), 401);
  assert.equal(await ask('POST', '/cutover/rollback', { host, origin, authorization: 'Bearer other' }), 401);
  assert.deepEqual(rollbacks, []);
  assert.equal(await ask('POST', '/cutover/rollback', { host, origin, authorization: 'Bearer secret' }), 200);
});

test('everybody may have the operator’s page, as it says nothing of this crossfade, and no other page may frame it', async (t) => {
  const { port } = await startAdmin(t, { token: 'secret' });
  const page = await fetch(`http://127.0.0.1:${port}/`, { headers: { origin: 'http://evil.example' } });
  assert.equal(page.status, 200);
  const policy = page.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  const text = await page.text();
  const files = [...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => path!);
  assert.ok(files.length >= 4);
  for (const file of files) assert.equal((await fetch(`http://127.0.0.1:${port}${file}`)).status, 200, file);
  assert.doesNotMatch(
    text,
    /<script>| on\w+=| style=|https?:\/\/(?!www\.w3\.org)/,
    'nothing inline, nothing from elsewhere',
  );
});

test('a replica whose address leads back here has not been reached', async (t) => {
  const { port } = await startAdmin(t);
  const facts = { admin: `http://127.0.0.1:${port}` };
  const replicaAt = (instance: string) => ({ instance, facts, counters: new Map() });
  const roster = { replicas: async () => ['teller', 'here', 'on another host'].map(replicaAt) };
  const signature = new PeerSignature({ instance: 'teller', secret: undefined, clock: systemClock });
  const peers = new Peers({ instance: 'teller', roster, signature, clock: systemClock, logger: silentLogger });
  t.after(() => peers.close());
  await peers.refresh();
  assert.deepEqual(await peers.ask('/cutover/uncertain', { id: 'i', eventId: 'e', room: 'r' }, 5_000), {
    answers: [{ read: true }],
    notReached: ['on another host'],
  });
});

test('what goes wrong with a request is answered, and counted', async (t) => {
  const { ask, metrics } = await startAdmin(t, { status: async () => assert.fail('odd') });
  assert.equal(await ask('GET', '/cutover', { host: 'localhost' }), 500);
  const { values } = await metrics.faults.get();
  assert.equal(values.find(({ labels }) => labels.where === 'admin')?.value, 1);
});
