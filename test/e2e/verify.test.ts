// `crossfade verify` as it is typed, by the binary, in front of a bridge that shows every tenth message twice: it must say so, and fail.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { apiKey, call, jwtSecret, startBridge } from '../support/bridge.ts';
import { builtBinary, spawnCrossfade } from '../support/process.ts';

const env = { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret };

describe('crossfade verify', () => {
  test('names every criterion with its measured value, and exits 1 for what a made fault breaks', async (t) => {
    const bridge = await startBridge(t);
    let messages = 0;
    bridge.onCall = async ({ url, body }) => {
      if (!url.endsWith('/chat/message') || ++messages % 10 !== 0) return undefined;
      const doubled = { ...JSON.parse(body.toString()), event_id: `doubled-${messages}` };
      await call(bridge.url, 'chat/message', doubled);
      return undefined;
    };
    const args = ['verify', '--bridge', bridge.url, '--seconds', '0.1', '--output', 'json'];
    const run = spawnCrossfade(t, args, env, { binary: builtBinary });
    assert.equal((await run.exited).code, 1, run.stderr);
    const { ok, criteria, measured, environment } = JSON.parse(run.stdout);
    assert.equal(ok, false);
    assert.deepEqual(
      criteria.map(({ id }: { id: string }) => id),
      ['SC-001', 'SC-002', 'SC-003', 'SC-004', 'SC-005', 'SC-006', 'SC-007'],
    );
    for (const criterion of criteria) {
      assert.deepEqual(Object.keys(criterion), ['id', 'name', 'target', 'measured', 'ok', 'details']);
      assert.equal(typeof criterion.ok, 'boolean', `${criterion.id} was measured`);
    }
    const byId = Object.fromEntries(criteria.map((each: { id: string }) => [each.id, each]));
    assert.match(byId['SC-005'].measured, /^0 lost, [1-9]\d* doubled/);
    assert.equal(byId['SC-005'].ok, false);
    assert.equal(byId['SC-006'].ok, false);
    // Where everything goes by stream the bridge's fault shows nothing twice.
    assert.equal(measured.fiveHundredUsers.doubled, 0);
    assert.equal(byId['SC-007'].ok, true, byId['SC-007'].details.join(', '));
    assert.deepEqual(Object.keys(environment), ['version', 'node', 'cores', 'cpu']);
  });

  test('wants a running deployment named as a whole', async (t) => {
    const run = spawnCrossfade(t, ['verify', '--admin', 'http://127.0.0.1:7402', '--output', 'json'], env);
    assert.equal((await run.exited).code, 2);
    assert.equal(JSON.parse(run.stdout).error, 'CONFIG_INVALID');
  });
});
