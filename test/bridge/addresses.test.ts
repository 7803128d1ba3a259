// The bridge's addresses with a resolver and a clock in the test's hand.

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import { BridgeAddresses, isAt } from '../../src/bridge/addresses.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';

async function open(t: TestContext, urls: string[], names: Record<string, string[]> = {}) {
  const clock = new TestClock();
  let lookups = 0;
  const resolve = async (name: string) => {
    lookups++;
    const ips = names[name];
    if (ips === undefined) throw new Error('ENOTFOUND');
    return ips;
  };
  const up = new Set<string>();
  const connects = async ({ origin }: { origin: string }) => up.has(origin);
  const addresses = await BridgeAddresses.open(urls, { clock, resolve, connects });
  t.after(() => addresses.close());
  const turns = (count: number) => Array.from({ length: count }, () => addresses.next().origin);
  return { addresses, clock, names, up, turns, lookups: () => lookups };
}

test('a name that resolves to several IPs is several bridges, which take turns; Host and TLS name stay the name', async (t) => {
  const { addresses, turns } = await open(t, ['https://bridge:5000/base/'], { bridge: ['10.0.0.2', '10.0.0.1'] });
  assert.deepEqual(turns(3), ['https://10.0.0.1:5000', 'https://10.0.0.2:5000', 'https://10.0.0.1:5000']);
  assert.deepEqual(addresses.all[0], {
    key: 'https://bridge:5000/base/ 10.0.0.1',
    origin: 'https://10.0.0.1:5000',
    basePath: '/base',
    host: 'bridge:5000',
    servername: 'bridge',
  });
});

test('several URLs are several bridges; IPs are taken as they are, without a lookup', async (t) => {
  const { addresses, turns, lookups } = await open(t, ['http://10.0.0.1:5000', 'https://[fd00::1]']);
  assert.deepEqual(turns(2), ['http://10.0.0.1:5000', 'https://[fd00::1]']);
  assert.equal(addresses.all[1]!.servername, undefined);
  assert.equal(lookups(), 0);
});

test('an instance with an address in both families counts once; so does localhost, which stays a name', async (t) => {
  const names = {
    dual: ['fd00::1', '10.0.0.1'],
    six: ['fd00::1', 'fd00::2', '10.0.0.1'],
    localhost: ['::1', '127.0.0.1'],
  };
  const { addresses } = await open(t, ['http://dual', 'http://six', 'http://localhost:5000'], names);
  assert.deepEqual(
    addresses.all.map(({ origin }) => origin),
    ['http://10.0.0.1', 'http://[fd00::1]', 'http://[fd00::2]', 'http://localhost:5000'],
  );
});

test('an address that refused a connection is left out for 5 s, unless all of them did', async (t) => {
  const { addresses, clock, turns } = await open(t, ['http://bridge'], { bridge: ['10.0.0.1', '10.0.0.2'] });
  addresses.refused(addresses.all[0]!);
  assert.deepEqual(new Set(turns(4)), new Set(['http://10.0.0.2']));
  addresses.refused(addresses.all[1]!);
  assert.equal(new Set(turns(4)).size, 2);
  clock.advance(5_000);
  assert.equal(new Set(turns(4)).size, 2);
});

test('they can be reached while one of them has not refused its last connection; each that has is looked at every second', async (t) => {
  const { addresses, clock, up } = await open(t, ['http://10.0.0.1', 'http://10.0.0.2']);
  const [first, second] = addresses.all;
  assert.equal(addresses.reachable, true);
  addresses.refused(first!);
  assert.equal(addresses.reachable, true);
  addresses.refused(second!);
  assert.equal(addresses.reachable, false);
  addresses.answered(second!);
  assert.equal(addresses.reachable, true);
  addresses.refused(second!);
  clock.advance(1_000);
  up.add('http://10.0.0.1');
  assert.equal(addresses.reachable, false);
  clock.advance(1_000);
  await until(() => addresses.reachable);
});

test('a name is looked up again every 30 s; what stays keeps its object, and a failure changes nothing', async (t) => {
  const { addresses, clock, names } = await open(t, ['http://bridge'], { bridge: ['10.0.0.1', '10.0.0.2'] });
  const [, second] = addresses.all;
  names.bridge = ['10.0.0.2', '10.0.0.3'];
  clock.advance(30_000);
  await until(() => addresses.all[1]!.origin === 'http://10.0.0.3');
  assert.equal(addresses.all[0], second);
  delete names.bridge;
  await addresses.refresh();
  assert.equal(addresses.all.length, 2);
});

test('a name that cannot be resolved stands for itself until it can', async (t) => {
  const { addresses, names } = await open(t, ['http://bridge:5000']);
  assert.deepEqual(
    addresses.all.map(({ origin, host }) => [origin, host]),
    [['http://bridge:5000', 'bridge:5000']],
  );
  names.bridge = ['10.0.0.1'];
  await addresses.refresh();
  assert.equal(addresses.next().origin, 'http://10.0.0.1:5000');
});

test('an address that another replica names is dialled only where this one’s resolver knows it, now or asked again', async (t) => {
  const { addresses, names, clock, lookups } = await open(t, ['http://bridge/b'], {
    bridge: ['10.0.0.1', '10.0.0.2'],
  });
  assert.equal(await addresses.find('http://bridge/b 10.0.0.2'), addresses.all[1]);
  for (const foreign of ['http://bridge/b 10.0.0.9', 'http://evil/b 10.0.0.2', 'http://bridge/b evil']) {
    assert.equal(await addresses.find(foreign), undefined);
  }
  names.bridge = ['10.0.0.2', '10.0.0.9'];
  clock.advance(1_000);
  assert.equal((await addresses.find('http://bridge/b 10.0.0.9'))!.origin, 'http://10.0.0.9');
  const before = lookups();
  for (let i = 0; i < 10; i++) assert.equal(await addresses.find('http://bridge/b 10.0.0.66'), undefined);
  assert.equal(lookups(), before, 'a flood of names is no flood of lookups');
});

test('a bridge that is our own server is known by whatever its address is written as', async (t) => {
  const face = Object.values(networkInterfaces())
    .flatMap((faces) => faces ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4');
  const cases: [bridge: string, host: string, isOurs: boolean][] = [
    ['http://127.0.0.1:7400', '127.0.0.1', true],
    ['http://127.1:7400/base', '127.0.0.1', true],
    ['http://localhost:7400', '127.0.0.1', true],
    ['http://[::1]:7400', '::1', true],
    ['http://[::1]:7400', 'localhost', true],
    ['http://127.0.0.1:7400', '0.0.0.0', true],
    ['http://0.0.0.0:7400', '0.0.0.0', true],
    ['http://sidecar:7400', '10.0.0.7', true],
    ['http://127.0.0.1:7401', '127.0.0.1', false],
    ['http://10.0.0.8:7400', '10.0.0.7', false],
    ['http://203.0.113.1:7400', '0.0.0.0', false],
    ['http://127.0.0.1', '127.0.0.1', false],
    ...(face === undefined ? [] : [[`http://${face.address}:7400`, '::', true] satisfies (typeof cases)[number]]),
  ];
  for (const [url, host, isOurs] of cases) {
    const { addresses } = await open(t, [url], { sidecar: ['10.0.0.7'], localhost: ['127.0.0.1', '::1'] });
    assert.equal(isAt(addresses.all[0]!, { host, port: 7400 }), isOurs, `${url} at ${host}`);
  }
});
