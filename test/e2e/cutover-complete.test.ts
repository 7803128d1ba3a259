// The bridge is left for good: what is asked before it, what goes on behind it, and that nobody looks for the bridge any more.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, jwtSecret, startBridge } from '../support/bridge.ts';
import { Desktop } from '../support/presence.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { command, cutover, force, say, shownOf, stateOf, untilAll } from './operating.ts';
import { atPercent, join, startSidecar } from './sidecar.ts';

/** ms in which a replica that still knew of a bridge would have asked it: health every 2 s, clients every 5 s. */
const wouldHaveAskedMs = 6_000;

/** A bridge whose process can end, after which somebody counts who still comes to its port. */
async function startMortalBridge(t: TestContext) {
  const bridge = await startBridge(t);
  const { url } = bridge;
  return {
    url,
    async end() {
      await bridge.close();
      let count = 0;
      const server = createServer((socket) => {
        count++;
        socket.destroy();
      });
      server.listen(Number(new URL(url).port), '127.0.0.1');
      await once(server, 'listening');
      t.after(() => server.close());
      return { countVisits: () => count };
    },
  };
}

async function bodyOf(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, { headers: { 'x-internal-api-key': apiKey }, ...init });
  return { status: response.status, text: await response.text() };
}

async function readiness({ admin }: Crossfade): Promise<{ status: number; checks: Record<string, unknown> }> {
  const response = await fetch(`${admin}/readyz`);
  return { status: response.status, checks: ((await response.json()) as { checks: Record<string, unknown> }).checks };
}

test('complete is refused with every reason, and a dry run of it changes nothing', async (t) => {
  const bridge = await startBridge(t);
  const one = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', bridge.url]);
  await command(one, { pins: { r: 'bridge' } });
  await command(one, { why: 'lunch' }, 'hold');
  const found = await cutover(t, ['complete', '--dry-run', '--admin', one.admin]);
  assert.equal(found.code, 1);
  for (const reason of [
    /× percent +0: rooms are at the bridge/,
    /× pins +to the bridge: r/,
    /× hubs +end at the bridge: /,
    /× hold +test holds the cutover/,
    /what cannot be taken back:\n {2}- no room goes back/,
    /\nnothing was changed\n$/,
  ])
    assert.match(found.stdout, reason);
  const refused = await cutover(t, ['complete', '--force', '--admin', one.admin]);
  assert.match(refused.stderr, /CUTOVER_GUARD: percent: 0.*; pins: .*; hubs: .*; hold: /);
  assert.equal(refused.code, 1);
  const { history, percent } = await stateOf(one);
  assert.deepEqual([percent, history.map(({ what }) => what)], [0, ['pin r bridge', 'hold']]);
});

test('what only the bridge could answer keeps it: who asks for it is named', async (t) => {
  const bridge = await startBridge(t);
  const flags = ['--redis', (await startRedis(t)).url, '--bridge', bridge.url, '--hubs', 'native', '--percent', '100'];
  const one = await startSidecar(t, flags);
  await atPercent(one, 100);
  const dryRun = async () =>
    (await command(one, { dryRun: true }, 'complete')).body as { findings: { name: string }[] };
  // Reads that crossfade answers itself, and what the bridge does not know either, keep nobody.
  for (const path of ['/health', '/internal/stats', '/internal/nothing']) await bodyOf(`${one.listen}${path}`);
  const callers = async () => (await dryRun()).findings.find(({ name }) => name === 'callers');
  assert.deepEqual(await callers(), {
    name: 'callers',
    status: 'ok',
    detail: 'nobody has asked for what the bridge alone knows, for an hour',
  });
  const authorization = `Bearer ${await makeToken({ sub: 'ada' }, jwtSecret)}`;
  const asked = `${one.listen}/hubs/chat/negotiate?negotiateVersion=1`;
  assert.equal((await bodyOf(asked, { method: 'POST', headers: { authorization } })).status, 200, 'by the wrong port');
  const { status, detail } = (await callers()) as { status?: string; detail?: string };
  assert.equal(status, 'fail');
  assert.match(detail!, /^POST \/hubs\/chat\/negotiate: the bridge has answered/);
});

test('once complete, calls and clients go on without the bridge, at every replica, also after a restart', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startMortalBridge(t);
  const flagsOf = (instance: string) => ['--redis', redis.url, '--bridge', bridge.url, '--instance', instance];
  const replicas = [await startSidecar(t, flagsOf('one')), await startSidecar(t, flagsOf('two'))] as const;
  const [one, two] = replicas;
  await force(one, 100);
  const moved = await cutover(t, ['hubs', 'native', '--force', '--admin', one.admin]);
  assert.equal(moved.code, 0, moved.stderr);
  await until(async () => (await stateOf(one)).replicas.length === 2, { what: 'both to know each other' });
  const client = await join(t, two.edge, 'chat', 'ada');
  await client.connection.invoke('JoinRoom', 'r');
  await say(one, 'r', 'before');

  const done = await cutover(t, ['complete', '--by', 'ada', '--admin', one.admin]);
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /\[native\], complete, epoch/);
  await untilAll([...replicas], ({ history }) => history.at(-1)?.what === 'complete', { what: 'both to be complete' });
  const visits = await bridge.end();
  await say(two, 'r', 'after');
  await until(() => shownOf(client, 'r').length === 2, { what: 'the client to be shown both' });
  assert.deepEqual(shownOf(client, 'r'), ['before', 'after']);

  for (const replica of replicas) await assertWithoutBridge(replica);
  await one.process.stop();
  const again = await startSidecar(t, flagsOf('one'));
  await say(again, 'r', 'after the restart');
  await until(() => shownOf(client, 'r').length === 3, { what: 'the client to be shown it' });
  await assertWithoutBridge(again);
  const told = again.process.lines.filter(({ msg }) => /--bridge .* is not used any more/.test(String(msg)));
  assert.equal(told.length, 1);
  // A bridge that runs yet may see another replica's stand-in of this user end.
  const keys = redis.client();
  const desktop = 'presence:desktop:desk';
  await Desktop.start(t, again.edge, 'ada', 'desk');
  await until(() => keys.get(desktop), { what: 'the key' });
  await keys.del(desktop);
  await until(() => keys.get(desktop), { what: 'the key to be back' });
  await sleep(wouldHaveAskedMs);
  assert.equal(visits.countVisits(), 0, 'nobody has looked for the bridge');
});

async function assertWithoutBridge(replica: Crossfade): Promise<void> {
  const { status, checks } = await readiness(replica);
  assert.deepEqual([status, 'bridge' in checks], [200, false], JSON.stringify(checks));
  assert.deepEqual(JSON.parse((await bodyOf(`${replica.listen}/health`)).text).status, 'healthy');
  assert.equal((await bodyOf(`${replica.listen}/unknown`)).status, 404);
  assert.equal((await bodyOf(`${replica.listen}/internal/chat/message`, { method: 'GET' })).status, 405);
  const refusals = [
    command(replica, {}, 'rollback'),
    command(replica, { dryRun: true }, 'rollback'),
    command(replica, { percent: 50 }),
    command(replica, { percent: 50, dryRun: true }),
    command(replica, {}, 'reset'),
    command(replica, { why: 'lunch' }, 'hold'),
    command(replica, {}, 'complete'),
  ];
  for (const { status, body } of await Promise.all(refusals))
    assert.deepEqual([status, body.error], [409, 'CUTOVER_COMPLETE']);
}
