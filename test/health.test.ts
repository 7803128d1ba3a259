// Whether a replica is ready, by its shape: what is its own job counts, and nothing else.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { allPass } from '../src/admin/admin.ts';
import { type GivenFlags, readConfig } from '../src/config.ts';
import { type ReadinessParts, readiness } from '../src/health.ts';
import type { Log } from '../src/log/log.ts';

const keys = { INTERNAL_API_KEY: 'key', JWT_SECRET_KEY: 'secret' };
const bridge = { bridge: 'http://bridge', reachable: true, detail: 'answers 200' };
const arrived = { ageMs: 400, hasArrived: true, isKept: true };

/** A proxied replica with everything in place, but for what a test says. */
function checksOf(changes: Partial<ReadinessParts> = {}, flags: GivenFlags = {}) {
  return readiness({
    config: readConfig({ redis: 'redis://localhost', bridges: 'http://bridge', ...flags }, keys),
    log: { reachable: true, refusal: undefined } as Log,
    bridges: { states: [bridge], reachable: true },
    edge: { listening: true },
    hasAudience: true,
    hasNativeHubs: false,
    isCutOff: false,
    probe: arrived,
    usesStream: true,
    draining: false,
    ...changes,
  });
}

const gone: Partial<ReadinessParts> = {
  bridges: { states: [{ ...bridge, reachable: false, detail: 'ECONNREFUSED' }], reachable: false },
  hasAudience: false,
};
const noLog: Partial<ReadinessParts> = { log: { reachable: false, refusal: undefined } as Log };
const overdue = { ageMs: 5_100, hasArrived: true, isKept: true };

describe('an edge', () => {
  const edge = { listen: 'off' };

  test('is ready while its probe arrives', () => {
    assert.ok(allPass(checksOf({}, edge)));
    assert.ok(allPass(checksOf({ probe: { ...arrived, ageMs: 5_000 } }, edge)));
  });

  test('is not where the log keeps what does not arrive: sockets are up, and nothing is delivered', () => {
    const { probe } = checksOf({ probe: overdue }, edge);
    assert.deepEqual(probe, { ok: false, detail: 'none has arrived for 5.1 s: clients here get nothing by stream' });
  });

  test('is not before its first probe has arrived', () => {
    const first = { ageMs: 300, hasArrived: false, isKept: true };
    assert.equal(checksOf({ probe: first }, edge).probe!.ok, false);
  });

  test('in front of a bridge does not need the log before any room is on the stream lane', () => {
    const away = { ageMs: 60_000, hasArrived: false, isKept: false };
    const { probe } = checksOf({ ...noLog, probe: away, usesStream: false }, edge);
    assert.deepEqual(probe, { ok: true, detail: 'none has arrived for 60.0 s; no room is on the stream lane' });
  });

  test('in front of a bridge, with the log away for all, is as good as any: the rooms are at the bridge', () => {
    const checks = checksOf({ ...noLog, probe: { ...overdue, isKept: false } }, edge);
    assert.ok(allPass(checks), JSON.stringify(checks));
    assert.ok(!allPass(checksOf({ ...noLog, probe: { ...overdue, isKept: false }, isCutOff: true }, edge)));
  });

  test('with native hubs has nothing to give without the log, whether it keeps probes or not', () => {
    const checks = checksOf({ probe: { ...overdue, isKept: false }, hasNativeHubs: true }, edge);
    assert.equal(checks.probe!.ok, false);
  });

  test('takes no calls, so that a log which refuses them is not its business', () => {
    const full = { log: { reachable: true, refusal: 'OOM' } as Log };
    assert.ok(allPass(checksOf(full, { ...edge, fallback: 'false' })));
    assert.ok(!allPass(checksOf(full, { fallback: 'false' })), 'where both sides are, it is');
  });

  test('ends with its bridge', () => {
    assert.ok(!allPass(checksOf(gone, edge)));
  });
});

describe('an ingress alone', () => {
  const ingress = { edge: 'off' };

  test('is ready with the bridge or with the log, whatever its probe does', () => {
    assert.ok(allPass(checksOf({ probe: overdue }, ingress)));
    assert.ok(allPass(checksOf(gone, ingress)));
    assert.ok(allPass(checksOf(noLog, ingress)));
    assert.ok(allPass(checksOf({ log: { reachable: true, refusal: 'OOM' } as Log }, ingress)));
    assert.ok(
      !allPass(checksOf({ ...noLog, hasNativeHubs: true }, ingress)),
      'nothing falls back to a bridge that nobody hears',
    );
  });

  test('says what holds where neither is there', () => {
    const checks = checksOf({ ...gone, ...noLog }, ingress);
    assert.deepEqual(checks.calls, { ok: false, detail: 'http://bridge: ECONNREFUSED; the log: not reachable' });
  });

  test('has nothing but the log where there is no bridge', () => {
    const alone = { bridges: undefined, ...noLog };
    assert.equal(
      checksOf(alone, { ...ingress, bridges: undefined }).calls!.detail,
      'there is no bridge; the log: not reachable',
    );
  });
});

test('a replica that ends is not ready, whatever its sides are', () => {
  for (const flags of [{}, { edge: 'off' }, { listen: 'off' }])
    assert.ok(!allPass(checksOf({ draining: true }, flags)));
});
