// A log that cannot be opened yet, with time in the test's hand; what opens at last is an embedded log.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CrossfadeError } from '../../src/errors.ts';
import { openEmbeddedLog } from '../../src/log/embedded/embedded-log.ts';
import { LateLog } from '../../src/log/late.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';
import { logOptions, newEntry, newNote } from './conformance.ts';

/** `arrive` makes the next attempt to open it succeed, and waits for it. */
function lateLog(t: TestContext) {
  const clock = new TestClock();
  const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-late-'));
  let isThere = false;
  const open = async () => {
    if (!isThere) throw new CrossfadeError('LOG_UNAVAILABLE', 'not there');
    return openEmbeddedLog({ ...logOptions({ clock }), dataDir });
  };
  const log = new LateLog(open, clock, silentLogger);
  t.after(async () => {
    await log.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const arrive = async () => {
    isThere = true;
    await until(() => {
      clock.advance(1_000);
      return log.reachable;
    });
  };
  return { log, arrive };
}

test('until it is open nothing is kept, claimed, known or shared', async (t) => {
  const { log, arrive } = lateLog(t);
  const refused = { code: 'LOG_APPEND_REFUSED', reason: 'connection_lost' };
  const unavailable = { code: 'LOG_UNAVAILABLE', reason: 'connection_lost' };
  const commit = { over: 0, note: newNote('1'), withinMs: 100 };
  assert.equal(log.reachable, false);
  await assert.rejects(log.append(newEntry()), refused);
  await assert.rejects(log.commitState({ epoch: 1, value: '1' }, commit), refused);
  await assert.rejects(log.claim('a', 1), unavailable);
  await assert.rejects(log.rememberIds([{ eventId: 'a', ttlMs: 1_000 }]), unavailable);
  await assert.rejects(log.readState(), unavailable);
  await assert.rejects(log.foreignReaders(['events:chat'], 1_000), unavailable);
  await assert.rejects(log.shared('k'), unavailable);
  await assert.rejects(log.streamStates(), unavailable);
  await assert.rejects(log.roster.read(), unavailable);
  await assert.rejects(log.roster.replicas(), unavailable);
  await log.settle('a', true);
  log.share('k', 'v', 60_000);

  await arrive();
  assert.equal(await log.readState(), undefined);
  assert.equal(await log.shared('k'), undefined);
  assert.equal(await log.claim('a'), 'claimed');
});

test('once it is open it is that log', async (t) => {
  const { log, arrive } = lateLog(t);
  await arrive();
  const commit = { over: 0, note: newNote('1'), withinMs: 100 };
  assert.equal(await log.commitState({ epoch: 1, value: '1' }, commit), 'committed');
  assert.deepEqual(await log.readState(), { epoch: 1, value: '1' });
  assert.equal(await log.append(newEntry({ epoch: 0 })), 'stale');
  assert.equal(await log.claim('a', 0), 'stale');
  await log.rememberIds([{ eventId: 'a', ttlMs: 60_000 }]);
  assert.equal(await log.claim('a', 1), 'duplicate');
  log.share('k', 'v', 60_000);
  assert.equal(await log.shared('k'), 'v');
  assert.deepEqual(await log.foreignReaders(['events:chat'], 1_000), []);
});

test('what a replica said of itself and counted before is told once it is open', async (t) => {
  const { log, arrive } = lateLog(t);
  log.roster.describe({ release: '1' });
  log.roster.describe({ release: '2' });
  log.roster.set('proxied', 2);
  log.roster.set('user:u1', 1);
  log.roster.set('user:u1', 0);
  await arrive();
  const self = { instance: 'replica-1', facts: { release: '2' }, counters: new Map([['proxied', 2]]) };
  assert.deepEqual(await log.roster.replicas(['proxied']), [self]);

  log.roster.set('proxied', 0);
  log.roster.describe({ release: '3' });
  assert.deepEqual(await log.roster.replicas(), [{ ...self, facts: { release: '3' }, counters: new Map() }]);
  assert.deepEqual(await log.roster.read(), [new Map()]);
});

test('closed before it could be opened, it ends whoever waits for its reader', async (t) => {
  const { log } = lateLog(t);
  const opening = log.openReader(['events:chat']);
  await log.close();
  await assert.rejects(opening, { code: 'LOG_UNAVAILABLE' });
});
