// The embedded engine keeps the conformance suite, and what only it can show: one owner of the file, expiry by an
// injected clock, positions over restarts, and that neither a kill -9 nor a full disk costs what was acknowledged.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EmbeddedLog } from '../../src/log/embedded/embedded-log.ts';
import { Store } from '../../src/log/embedded/store.ts';
import { comparePositions, type Log, type LogOptions } from '../../src/log/log.ts';
import { createLog } from '../../src/log/open.ts';
import { TestClock } from '../support/clock.ts';
import { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { conformance, logOptions, newEntry, newNote, readEntries, streams } from './conformance.ts';

conformance('embedded', (t, overrides) => openIn(t, temporaryDir(t), overrides));

describe('embedded: the file', () => {
  test('its folder is made', async (t) => {
    const log = await openIn(t, join(temporaryDir(t), 'a', 'b'));
    assert.equal(await log.append(newEntry()), 'appended');
  });

  test('has one owner at a time', async (t) => {
    const dir = temporaryDir(t);
    const log = await openIn(t, dir);
    await assert.rejects(openIn(t, dir), { code: 'LOG_INSTANCE_TAKEN' });
    assert.equal(await log.append(newEntry()), 'appended', 'the owner goes on');
    await log.close();
    await (await openIn(t, dir)).close();
  });

  test('ids that are over are forgotten a portion at a time', (t) => {
    const store = Store.open(temporaryDir(t));
    t.after(() => store.close());
    store.transact(() => {
      for (let i = 0; i < 1_100; i++) store.rememberId(`${i}`, 'kept', i < 1_050 ? 1_000 : 3_000);
    });
    const forget = () => store.transact(() => store.forgetExpired(2_000));
    assert.deepEqual([forget(), forget(), forget()], [true, true, false]);
    assert.equal(store.idState('1099', 2_000), 'kept');
  });

  test('has one owner over processes, until that one is gone', async (t) => {
    const dir = temporaryDir(t);
    const writer = startWriter(t, dir);
    await until(() => writer.stdout !== '', { what: () => `the writer to write\n${writer.stderr}` });
    await assert.rejects(openIn(t, dir), { code: 'LOG_INSTANCE_TAKEN' });
    await writer.kill();
    await openIn(t, dir);
  });

  test('a folder that cannot be made is LOG_UNAVAILABLE', async (t) => {
    const file = join(temporaryDir(t), 'file');
    writeFileSync(file, '');
    await assert.rejects(openIn(t, join(file, 'dir')), { code: 'LOG_UNAVAILABLE' });
  });

  test('a file that is no database is LOG_UNAVAILABLE', async (t) => {
    const dir = temporaryDir(t);
    writeFileSync(join(dir, 'log.sqlite'), 'no database '.repeat(1_000));
    await assert.rejects(openIn(t, dir), { code: 'LOG_UNAVAILABLE' });
  });

  test('a file with damaged pages is LOG_UNAVAILABLE, in one line, and so is a folder that takes none', async (t) => {
    const dir = temporaryDir(t);
    const log = await openIn(t, dir);
    for (let i = 0; i < 50; i++) await log.append(newEntry({ payload: JSON.stringify('x'.repeat(5_000)) }));
    await log.close();
    const path = join(dir, 'log.sqlite');
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 4_096);
    writeFileSync(path, bytes);
    const isOneLine = (error: Error & { code?: string }) =>
      error.code === 'LOG_UNAVAILABLE' && !error.message.includes('\n') && error.message.includes('log.sqlite');
    await assert.rejects(openIn(t, dir), isOneLine);
    await assert.rejects(openIn(t, '/proc/x/y'), isOneLine);
    const taken = temporaryDir(t);
    mkdirSync(join(taken, 'log.sqlite'));
    await assert.rejects(openIn(t, taken), isOneLine);
  });

  test('what is damaged in one entry is set aside, and what stands behind it is read', async (t) => {
    const dir = temporaryDir(t);
    const log = await openIn(t, dir);
    await log.close();
    {
      using file = openFile(dir);
      const insert = file.prepare("INSERT INTO entries VALUES (?, 0, 'events:chat', ?, ?)");
      for (const [i, fields] of ['not JSON', '7', '{}', '[1]', 'null'].entries()) insert.run(9e12 + i, i + 1, fields);
    }
    const store = Store.open(dir);
    t.after(() => store.close());
    assert.deepEqual(
      store.after('0-0', 10, 1_000).map(({ fields }) => fields),
      [[], [], [], [], []],
    );
  });

  test('and its folder are open to nobody else', async (t) => {
    const dir = join(temporaryDir(t), 'a', 'b');
    const log = await openIn(t, dir);
    await log.append(newEntry());
    const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
    assert.deepEqual([mode(join(dir, '..')), mode(dir)], ['700', '700']);
    for (const file of readdirSync(dir)) assert.equal(mode(join(dir, file)), '600', file);
    await log.close();
    chmodSync(join(dir, 'log.sqlite'), 0o644);
    await openIn(t, dir);
    assert.equal(mode(join(dir, 'log.sqlite')), '600', 'one of an older release');
  });

  test('is what opens where no Redis is given', async (t) => {
    const log = createLog({ ...logOptions(), redisUrl: undefined, dataDir: temporaryDir(t) });
    t.after(() => log.close());
    await log.open();
    assert.equal(await log.append(newEntry()), 'appended');
  });
});

describe('embedded: time', () => {
  test('a kept id is new again after 5 minutes', async (t) => {
    const clock = new TestClock();
    const log = await openIn(t, temporaryDir(t), { clock });
    await log.append(newEntry({ eventIds: ['a'] }));
    clock.advance(5 * 60_000 - 1);
    assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'duplicate');
    clock.advance(1);
    assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'appended');
  });

  test('a claim that nobody settles ends after 15 seconds', async (t) => {
    const clock = new TestClock();
    const log = await openIn(t, temporaryDir(t), { clock });
    await log.claim('a');
    clock.advance(14_999);
    assert.equal(await log.claim('a'), 'undecided');
    clock.advance(1);
    assert.equal(await log.claim('a'), 'claimed');
  });

  test('a settled claim is a duplicate for 5 minutes from its settlement', async (t) => {
    const clock = new TestClock();
    const log = await openIn(t, temporaryDir(t), { clock });
    await log.claim('a');
    clock.advance(10_000);
    await log.settle('a', true);
    clock.advance(5 * 60_000 - 1);
    assert.equal(await log.claim('a'), 'duplicate');
    clock.advance(1);
    assert.equal(await log.claim('a'), 'claimed');
  });

  test('an id that was accepted elsewhere counts for its rest, and is never remembered for less long than before', async (t) => {
    const clock = new TestClock();
    const log = await openIn(t, temporaryDir(t), { clock });
    await log.append(newEntry({ eventIds: ['appended'] }));
    await log.rememberIds([
      { eventId: 'appended', ttlMs: 1_000 },
      { eventId: 'accepted', ttlMs: 1_000 },
    ]);
    await log.rememberIds([{ eventId: 'accepted', ttlMs: 20_000 }]);
    clock.advance(19_999);
    assert.equal(await log.claim('accepted'), 'duplicate');
    clock.advance(1);
    assert.equal(await log.claim('accepted'), 'claimed');
    clock.advance(5 * 60_000 - 20_001);
    assert.equal(await log.claim('appended'), 'duplicate');
  });

  test('a state that was not committed in time is late, and leaves no note', async (t) => {
    const clock = new TestClock();
    const dir = temporaryDir(t);
    const log = await openIn(t, dir, { clock });
    const committing = log.commitState({ epoch: 1, value: '1' }, { over: 0, note: newNote('1'), withinMs: 100 });
    clock.advance(101);
    assert.equal(await committing, 'late');
    assert.equal(await log.readState(), undefined);
    await log.close();
    assert.equal(count(dir, 'entries'), 0);
  });

  test('a shared value ends with its time', async (t) => {
    const clock = new TestClock();
    const log = await openIn(t, temporaryDir(t), { clock });
    log.share('token', 'bridge', 10_000);
    clock.advance(9_999);
    assert.equal(await log.shared('token'), 'bridge');
    clock.advance(1);
    assert.equal(await log.shared('token'), undefined);
  });

  test('a value that was swapped outlives the process', async (t) => {
    const dir = temporaryDir(t);
    const log = await openIn(t, dir);
    assert.equal(await log.swap('plan', undefined, 'at step 1', 60_000), true);
    await log.close();
    assert.equal(await (await openIn(t, dir)).shared('plan'), 'at step 1');
  });

  test('expired ids leave the file', async (t) => {
    const clock = new TestClock();
    const dir = temporaryDir(t);
    const log = await openIn(t, dir, { clock });
    for (let i = 0; i < 10; i++) await log.append(newEntry());
    clock.advance(5 * 60_000 + 5_000);
    await log.append(newEntry());
    await log.close();
    assert.equal(count(dir, 'ids'), 1);
  });

  test('a clock that steps back neither changes the order nor repeats a position', async (t) => {
    const clock = new TestClock();
    const dir = temporaryDir(t);
    const before = await openIn(t, dir, { clock });
    const reader = await before.openReader(streams);
    for (let i = 0; i < 5; i++) {
      await before.append(newEntry({ eventIds: [`${i}`] }));
      clock.wallMs -= 1_000;
    }
    const entries = await readEntries(reader, 5);
    await before.close();

    clock.wallMs -= 3_600_000;
    const after = await openIn(t, dir, { clock });
    const next = await after.openReader(streams);
    assert.equal(next.position, entries.at(-1)!.position, 'a new process stands at the tail');
    await after.append(newEntry({ eventIds: ['5'] }));
    entries.push(...(await readEntries(next, 1)));

    assert.deepEqual(
      entries.map(({ eventId }) => eventId),
      ['0', '1', '2', '3', '4', '5'],
    );
    const inOrder = entries.toSorted((a, b) => comparePositions(a.position, b.position));
    assert.deepEqual(entries, inOrder);
    assert.equal(new Set(entries.map(({ position }) => position)).size, 6);
  });
});

describe('embedded: nothing acknowledged is lost', () => {
  test('by a restart', async (t) => {
    const dir = temporaryDir(t);
    const first = await openIn(t, dir);
    await first.append(newEntry({ eventIds: ['a'] }));
    await first.claim('b');
    const state = { epoch: 1, value: '{"percent":5}' };
    await first.commitState(state, { over: 0, note: newNote('1'), withinMs: 1_000 });
    await first.close();
    const second = await openIn(t, dir);
    const [chat] = await statesOf(second);
    assert.equal(chat!.depth, 1);
    assert.deepEqual(await second.readState(), state);
    assert.equal(await second.append(newEntry({ epoch: 0 })), 'stale');
    assert.equal(await second.append(newEntry({ eventIds: ['a'] })), 'duplicate');
    assert.equal(await second.claim('b'), 'claimed', 'a claim ends with its process');
  });

  test('by a kill -9, wherever it strikes', async (t) => {
    const dir = temporaryDir(t);
    const kept: string[] = [];
    for (const atLeast of [1, 50, 200]) {
      const writer = startWriter(t, dir);
      await until(() => acknowledged(writer).length >= atLeast, { what: () => `appends\n${writer.stderr}` });
      await writer.kill();
      assert.equal(writer.exit!.signal, 'SIGKILL');
      kept.push(...acknowledged(writer));

      const log = await openIn(t, dir);
      const results = await Promise.all(kept.map((id) => log.append(newEntry({ eventIds: [id] }))));
      assert.deepEqual(new Set(results), new Set(['duplicate']));
      await log.close();
      const inFile = new Set(eventIds(dir));
      assert.deepEqual(
        kept.filter((id) => !inFile.has(id)),
        [],
      );
      assert.equal(inFile.size, eventIds(dir).length, 'none is there twice');
    }
  });

  test('by a full disk, which refuses the append', async (t) => {
    const dir = temporaryDir(t);
    const writer = startWriter(t, dir, { maxFileBlocks: 1_000 });
    await until(() => writer.exit, { what: () => `the writer to end\n${writer.stderr}`, timeoutMs: 10_000 });
    const lines = writer.stdout.trim().split('\n');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('refused')),
      Array(4).fill('refused redis_error'),
    );
    assert.equal(lines.at(-1), 'reachable false');
    const log = await openIn(t, dir);
    const ids = acknowledged(writer);
    assert.ok(ids.length > 0);
    const results = await Promise.all(ids.map((id) => log.append(newEntry({ eventIds: [id] }))));
    assert.deepEqual(new Set(results), new Set(['duplicate']));
  });
});

async function openIn(t: TestContext, dataDir: string, overrides?: Partial<LogOptions>): Promise<Log> {
  const log = new EmbeddedLog({ ...logOptions(overrides), dataDir });
  t.after(() => log.close());
  await log.open();
  return log;
}

function temporaryDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-log-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function statesOf(log: Log) {
  await log.openReader(streams);
  return log.streamStates();
}

/** @param options.maxFileBlocks what a file of the process may grow to, in blocks of 512 bytes (`ulimit -f` of sh) */
function startWriter(t: TestContext, dir: string, { maxFileBlocks }: { maxFileBlocks?: number } = {}): Running {
  const script = fileURLToPath(new URL('../support/embedded-writer.ts', import.meta.url));
  const limit = maxFileBlocks === undefined ? '' : `ulimit -f ${maxFileBlocks}; `;
  const child = spawn('/bin/sh', ['-c', `${limit}exec "$0" "$1" "$2"`, process.execPath, script, dir]);
  const running = new Running(child);
  t.after(() => running.exit ?? running.kill());
  return running;
}

/** Whole lines only: the last one may have been cut off. */
function acknowledged(writer: Running): string[] {
  const lines = writer.stdout.split('\n').slice(0, -1);
  return lines.filter((line) => /^\d+-\d+-\d+$/.test(line));
}

function openFile(dir: string): DatabaseSync & Disposable {
  const database = new DatabaseSync(join(dir, 'log.sqlite'));
  return Object.assign(database, { [Symbol.dispose]: () => database.close() });
}

function count(dir: string, table: 'ids' | 'entries'): number {
  using file = openFile(dir);
  return file.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n as number;
}

function eventIds(dir: string): string[] {
  using file = openFile(dir);
  const rows = file.prepare('SELECT fields FROM entries').all();
  return rows.map(({ fields }) => JSON.parse(fields as string)[1]);
}

test('until it is open nothing is kept, claimed or known, and what a replica says of itself is not lost', async (t) => {
  const log = new EmbeddedLog({ ...logOptions(), dataDir: temporaryDir(t) });
  t.after(() => log.close());
  const refused = { code: 'LOG_APPEND_REFUSED', reason: 'connection_lost' };
  const unavailable = { code: 'LOG_UNAVAILABLE', reason: 'connection_lost' };
  assert.equal(log.reachable, false);
  await assert.rejects(log.append(newEntry()), refused);
  await assert.rejects(
    log.commitState({ epoch: 1, value: '1' }, { over: 0, note: newNote('1'), withinMs: 100 }),
    refused,
  );
  await assert.rejects(log.claim('a', 1), unavailable);
  await assert.rejects(log.rememberIds([{ eventId: 'a', ttlMs: 1_000 }]), unavailable);
  await assert.rejects(log.readState(), unavailable);
  await log.settle('a', true);
  log.roster.set('proxied', 2);
  log.roster.describe({ release: '2' });

  await log.open();
  assert.equal(log.reachable, true);
  assert.equal(await log.readState(), undefined);
  assert.equal(await log.claim('a'), 'claimed');
  const self = { instance: 'replica-1', facts: { release: '2' }, counters: new Map([['proxied', 2]]) };
  assert.deepEqual((await log.roster.replicas(['proxied']))[0]!.counters, self.counters);
});
