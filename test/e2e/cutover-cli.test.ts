// `crossfade cutover …` as an operator types it: what it prints, what it changes on every replica, and with which exit code it
// ends when it is used wrongly, let in nowhere, or refused.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { cutover, ofAll, type State, stateOf, untilAll } from './operating.ts';
import { binary, startSidecar } from './sidecar.ts';

test('the binary operates all replicas by way of one', async (t) => {
  const redis = await startRedis(t);
  const flags = ['--redis', redis.url, '--bridge', (await startBridge(t)).url];
  const replicas = [await startSidecar(t, flags, binary), await startSidecar(t, flags, binary)];
  const [asked] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  const operate = async (...words: string[]) => {
    const { code, stdout, stderr } = await cutover(t, [...words, '--admin', asked.admin], {}, binary);
    assert.deepEqual([code, stderr], [0, ''], words.join(' '));
    return stdout;
  };
  const untilAllAre = (part: Partial<State>) => {
    const isSo = (state: State) => Object.entries(part).every(([key, value]) => same(state[key as keyof State], value));
    return untilAll(replicas, isSo, { what: JSON.stringify(part), timeoutMs: 1_000 });
  };

  const shown = await operate('show');
  assert.match(shown, /^bridge ●─+ stream {3}0% by stream\n/);
  for (const { instance } of (await stateOf(asked)).replicas)
    assert.ok(shown.includes(instance), `${instance}\n${shown}`);
  assert.match(await operate('set', '25'), /25% by stream/);
  await untilAllAre({ percent: 25, operated: true });
  assert.match(await operate('mirror', 'on'), /mirror +on/);
  await untilAllAre({ mirror: true });
  assert.match(await operate('mirror', '10', '--why', 'what does it cost?'), /mirror +on for 10% of the rooms/);
  await untilAllAre({ mirror: true, mirrorPercent: 10 });
  assert.match(await operate('mirror', 'off'), /mirror +off/);
  assert.match(await operate('pin', 'a room', 'stream', '--force'), /pins +a room by stream/);
  await operate('pin', 'r', 'bridge');
  await untilAllAre({ mirror: false, pins: { 'a room': 'stream', r: 'bridge' } });
  await operate('unpin', 'r', '--force');
  await untilAllAre({ pins: { 'a room': 'stream' } });
  assert.match(await operate('set', '100', '--force'), /^bridge ━+● stream {3}100% by stream\n/);
  assert.match(await operate('rollback'), /0% by stream[\s\S]*100% → 0% +rollback/);
  await untilAllAre({ percent: 0, pins: {}, mirror: false, operated: true });
  await operate('reset');
  await untilAllAre({ percent: 0, operated: false });

  const { history } = await stateOf(asked);
  assert.deepEqual(
    history.map(({ what, from, to }) => `${what} ${from} ${to}`),
    [
      'set 25 0 25',
      'mirror on 25 25',
      'mirror 10% 25 25',
      'mirror off 25 25',
      'pin a room stream 25 25',
      'pin r bridge 25 25',
      'unpin r 25 25',
      'set 100 25 100',
      'rollback 100 0',
      'reset 0 0',
    ],
  );
  assert.equal(new Set(await ofAll(replicas, ({ history }) => JSON.stringify(history))).size, 1, 'one history');
});

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

test('what cannot be meant is one line and exit code 2, and asks nobody', async (t) => {
  const nobody = ['--admin', 'http://127.0.0.1:1'];
  const cases: [words: string[], line: RegExp][] = [
    [['set', '101', ...nobody], /'101' is not a percent from 0 to 100/],
    [['set', '-1', ...nobody], /'-1'/],
    [['set', 'half', ...nobody], /'half' is not a percent/],
    [['set', '2.5', ...nobody], /'2\.5' is not a percent/],
    [['set', ...nobody], /missing required argument 'percent'/],
    [['mirror', 'perhaps', ...nobody], /'perhaps' is neither on, nor off, nor a percent/],
    [['pin', 'r', 'river', ...nobody], /'river' is not a lane: bridge or stream/],
    [['pin', '', 'stream', ...nobody], /the name of a room has 1 to 256 characters/],
    [['pin', 'r', ...nobody], /missing required argument 'lane'/],
    [['rollback', '--force', ...nobody], /unknown option '--force'/],
    [['set', '5', '--if-epoch', 'now', ...nobody], /'now' is not an epoch/],
    [['hold', ' ', ...nobody], /who and why have 1 to 200 characters/],
    [['hold', ...nobody], /missing required argument 'why'/],
    [['show', '--output', 'xml', ...nobody], /'xml' is invalid/],
    [['turn', ...nobody], /unknown command 'turn'/],
    [['show', '--admin', 'nowhere'], /--admin: 'nowhere' is not an http:\/\/ or https:\/\/ address/],
  ];
  for (const [words, line] of cases) {
    const { code, stdout, stderr } = await cutover(t, words);
    assert.match(stderr, line, words.join(' '));
    assert.match(stderr, /^crossfade: CONFIG_INVALID: [^\n]+\n$/, words.join(' '));
    assert.deepEqual([code, stdout], [2, ''], words.join(' '));
  }
});

test('where nobody answers, or there is nothing to move, it is one line and exit code 1', async (t) => {
  const closed = await startBridge(t);
  const { url } = closed;
  await closed.close();
  const gone = await cutover(t, ['rollback', '--admin', url]);
  const stderr = `crossfade: ADMIN_UNREACHABLE: no crossfade answers at ${url} (ECONNREFUSED)\n`;
  assert.deepEqual(gone, { code: 1, stdout: '', stderr });
  const redis = await startRedis(t);
  const standalone = await startSidecar(t, ['--redis', redis.url]);
  const refused = await cutover(t, ['set', '25', '--admin', standalone.admin]);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^crossfade: CUTOVER_INVALID: there is no --bridge: every room is on the stream lane\n$/,
  );
  assert.match((await cutover(t, ['show', '--admin', standalone.admin])).stdout, /100% by stream/);
  const wrongPort = await cutover(t, ['show', '--admin', standalone.listen]);
  assert.equal(wrongPort.code, 1);
  assert.match(
    wrongPort.stderr,
    /^crossfade: ADMIN_UNREACHABLE: \S+ answered 404; is that the admin port \(--admin.*\n$/,
  );
});

test('a command that changes nothing fills no line of the history, and a pin that is not there is named', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  const words = (text: string) => cutover(t, [...text.split(' '), '--admin', sidecar.admin]);
  for (const text of ['set 0', 'set 0', 'pin r bridge', 'pin r bridge', 'mirror off', 'unpin r']) {
    assert.equal((await words(text)).code, 0, text);
  }
  const { code, stderr } = await words('unpin nosuch');
  assert.deepEqual([code, stderr], [1, "crossfade: CUTOVER_INVALID: 'nosuch' is not pinned\n"]);
  const { history } = await stateOf(sidecar);
  assert.deepEqual(
    history.map(({ what }) => what),
    ['set 0', 'pin r bridge', 'unpin r'],
  );
});

const operatingPage = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8');
const outside = Object.values(networkInterfaces())
  .flat()
  .find((face) => face !== undefined && !face.internal && face.family === 'IPv4')?.address;

test('a hold is held on every replica, and says whom to ask and what releases it', async (t) => {
  const flags = ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url];
  const [a, b] = [await startSidecar(t, flags), await startSidecar(t, flags)];
  const at = (replica: typeof a, ...words: string[]) => cutover(t, [...words, '--admin', replica.admin]);
  assert.equal((await at(a, 'set', '5', '--by', 'ada')).code, 0);
  const held = await at(a, 'hold', 'the evening shift decides', '--by', 'ada');
  assert.match(
    held.stdout,
    /why +ada holds it: the evening shift decides\n +→ crossfade cutover release --admin \S+\n/,
  );
  await untilAll([a, b], ({ hold }) => hold?.who === 'ada', { what: 'both to know of the hold' });
  for (const words of [['set', '10', '--force'], ['pin', 'r', 'stream'], ['mirror', 'on'], ['reset']]) {
    const { code, stdout, stderr } = await at(b, ...words);
    assert.deepEqual([code, stdout], [1, ''], words.join(' '));
    assert.match(
      stderr,
      /^crossfade: CUTOVER_HELD: ada holds the cutover since \S+ \S+Z: the evening shift decides\n$/,
    );
  }
  const asJson = await at(b, 'set', '10', '--output', 'json');
  assert.deepEqual([asJson.code, asJson.stderr], [1, '']);
  const { error, remedy } = JSON.parse(asJson.stdout);
  assert.equal(error, 'CUTOVER_HELD');
  assert.match(remedy, /crossfade cutover release/);
  assert.match((await at(b, 'rollback')).stdout, /^rolled back in order.*\n\nbridge ●/);
  assert.equal((await stateOf(a)).hold?.who, 'ada', 'and is still held, at 0');
  const released = await at(b, 'release', '--by', 'bob', '--output', 'json');
  const { hold, history, next } = JSON.parse(released.stdout);
  assert.deepEqual([hold, history.at(-1).who, next], [null, 'bob', 'crossfade cutover mirror 10']);
});

test('a command that is bound to an epoch is refused where somebody was faster', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  const words = (...words: string[]) => cutover(t, [...words, '--admin', sidecar.admin]);
  await words('pin', 'r', 'bridge');
  const { epoch } = await stateOf(sidecar);
  assert.equal((await words('unpin', 'r', '--if-epoch', String(epoch))).code, 0);
  const late = await words('set', '25', '--if-epoch', String(epoch));
  assert.equal(late.code, 1);
  assert.match(late.stderr, /^crossfade: CUTOVER_CONFLICT: the cutover is at epoch \d+, not as it was at \d+\n$/);
});

test('what is watched without a terminal is a block each second, and each line is JSON where that is asked for', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  const watching = (...words: string[]) =>
    spawnCrossfade(t, ['cutover', 'show', '--watch', ...words, '--admin', sidecar.admin]);
  const [text, json] = [watching(), watching('--output', 'json')];
  await until(() => text.stdout.split('\n\nbridge ●').length > 1, { what: () => text.stdout, timeoutMs: 20_000 });
  assert.ok(!text.stdout.includes('\x1b'), 'no colours, and nothing is drawn over');
  await until(() => json.stdout.split('\n').length > 2, { what: () => json.stdout, timeoutMs: 20_000 });
  const status = JSON.parse(json.stdout.split('\n')[1]!);
  assert.equal(status.stage, 'observe');
  const [, table] = /<!-- keys -->\n([\s\S]*?)<!-- \/keys -->/.exec(operatingPage)!;
  const keys = [...table!.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => cell!.match(/\w+/g)!);
  assert.deepEqual(Object.keys(status).toSorted(), keys.toSorted(), 'docs/operating.md names every key');
  for (const key of Object.keys(status.replicas[0])) assert.ok(table!.includes(`\`${key}\``), key);
  await sidecar.process.stop();
  await until(() => text.stdout.includes('no crossfade answers'), { what: () => text.stdout, timeoutMs: 20_000 });
  assert.equal(text.exit, undefined, 'it may come back');
});

test('beyond loopback the admin port wants its token: of the command line, and of the other replicas', {
  skip: outside === undefined && 'no address beyond loopback on this machine',
}, async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const flags = ['--redis', redis.url, '--bridge', (await startBridge(t)).url, '--admin', '0.0.0.0:0'];
  const env = { CROSSFADE_ADMIN_TOKEN: 'open sesame' };
  const replicas = [await startSidecar(t, flags, { env }), await startSidecar(t, flags, { env })];
  const admin = `http://${outside}:${new URL(replicas[0]!.admin).port}`;
  const inside = replicas.map((replica) => ({ ...replica, admin: replica.admin.replace('0.0.0.0', '127.0.0.1') }));
  for (const wrong of [{}, { CROSSFADE_ADMIN_TOKEN: 'guess' }]) {
    const { code, stderr } = await cutover(
      t,
      ['set', '25', '--force', '--admin', admin],
      wrong as Record<string, string>,
    );
    assert.deepEqual([code, stderr], [1, `crossfade: ADMIN_UNREACHABLE: ${admin} wants CROSSFADE_ADMIN_TOKEN\n`]);
  }
  assert.equal((await cutover(t, ['set', '25', '--force', '--admin', admin], env)).code, 0);
  await untilAll(inside, ({ percent, replicas }) => percent === 25 && replicas.length === 2, { what: 'both at 25' });
  await redis.kill9();
  const { code, stderr } = await cutover(t, ['rollback', '--admin', admin], env);
  assert.deepEqual([code, stderr], [0, ''], 'the other replica was told by HTTP');
  assert.deepEqual(await ofAll(inside, ({ effective }) => effective.percent), [0, 0]);
});
