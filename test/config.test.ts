// The configuration: what holds when nothing is set, what beats what, and that every fault has a line that names it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import {
  type Config,
  ConfigError,
  isLoopback,
  ownAdminUrl,
  readConfig,
  secrets,
  settings,
  withoutBridge,
} from '../src/config.ts';

const keys = { INTERNAL_API_KEY: 'key', JWT_SECRET_KEY: 'secret' };
const bridge = 'http://bridge:5000';

type Flags = Parameters<typeof readConfig>[0];

/** With both secrets, which most tests are not about. */
function read(flags: Flags = {}, env: NodeJS.ProcessEnv = {}): Config {
  return readConfig(flags, { ...keys, ...env });
}

function faults(flags: Flags, env: NodeJS.ProcessEnv = keys): string[] {
  try {
    readConfig(flags, env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, 'CONFIG_INVALID');
    return error.message.split('\n');
  }
  return [];
}

describe('what holds when nothing is set', () => {
  test('standalone: everything by stream, hubs native, on loopback', () => {
    assert.deepEqual(read(), {
      listen: { host: '127.0.0.1', port: 7400 },
      edge: { host: '127.0.0.1', port: 7401 },
      admin: { host: '127.0.0.1', port: 7402 },
      health: undefined,
      bridges: [],
      bridgeCalls: 'one',
      bridgeFallback: false,
      hubs: 'native',
      killSwitch: false,
      dataDir: './crossfade-data',
      percent: 100,
      mirror: false,
      requireCompare: false,
      fallback: true,
      publishTimeout: 100,
      handoverTimeout: 200,
      consumerGroup: 'signalr-consumers',
      instance: hostname(),
      coalesceWindow: 100,
      coalesce: true,
      maxBody: 30_000_000,
      allowedOrigins: [],
      insecure: false,
      logLevel: 'info',
      apiKey: 'key',
      jwtSecret: 'secret',
    });
  });

  test('with a bridge nothing goes by stream', () => {
    assert.equal(read({ bridges: bridge }).percent, 0);
  });

  test('it cannot be changed', () => {
    const config = read() as { percent: number };
    assert.throws(() => {
      config.percent = 1;
    }, TypeError);
  });
});

describe('where a value comes from', () => {
  test('a flag beats its variable', () => {
    const env = { CROSSFADE_BRIDGE: 'http://from-env', EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE: '10' };
    const config = read({ bridges: 'http://from-flag', percent: '20' }, env);
    assert.deepEqual([config.bridges, config.percent], [['http://from-flag'], 20]);
  });

  test('of several variables the first that is set counts, and an empty one is not set', () => {
    const percent = (env: NodeJS.ProcessEnv) => read({ bridges: bridge }, env).percent;
    const [first, second] = ['EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE', 'EVENT_TRANSPORT_REDIS_PERCENTAGE'];
    assert.equal(percent({ [first!]: '5', [second!]: '6' }), 5);
    assert.equal(percent({ [first!]: '', [second!]: '6' }), 6);
    assert.equal(percent({ [first!]: '', [second!]: '' }), 0);
  });

  test('every setting has a variable, and every variable one setting', () => {
    const variables = [...settings, ...secrets].flatMap((setting) => setting.variables);
    assert.equal(new Set(variables).size, variables.length);
    assert.ok(settings.every(({ variables: own }) => own.length > 0));
  });

  test('switches: as flags and as variables in any spelling', () => {
    assert.deepEqual(pick(read({ bridges: bridge, mirror: true, fallback: false, coalesce: false })), [
      true,
      false,
      false,
    ]);
    const env = (mirror: string, fallback: string, coalesce: string) => ({
      EVENT_TRANSPORT_DUAL_WRITE: mirror,
      EVENT_TRANSPORT_FALLBACK_TO_HTTP: fallback,
      EVENT_COALESCING_ENABLED: coalesce,
    });
    assert.deepEqual(pick(read({ bridges: bridge }, env('TRUE', 'no', '0'))), [true, false, false]);
    assert.deepEqual(pick(read({ bridges: bridge }, env('off', '1', 'yes'))), [false, true, true]);
    function pick({ mirror, fallback, coalesce }: Config) {
      return [mirror, fallback, coalesce];
    }
  });

  test('the kill switch stands beside the percent, which holds again without it', () => {
    const killed = read({ bridges: bridge, percent: '50' }, { EVENT_TRANSPORT_USE_REDIS_STREAMS: 'false' });
    assert.deepEqual([killed.killSwitch, killed.percent], [true, 50]);
    assert.ok(!('killSwitchOff' in killed));
    assert.equal(read({ bridges: bridge }, { EVENT_TRANSPORT_USE_REDIS_STREAMS: 'true' }).killSwitch, false);
  });
});

describe('values', () => {
  test('addresses', () => {
    const listen = (text: string) => read({ listen: text }).listen;
    assert.deepEqual(listen('0.0.0.0:80'), { host: '0.0.0.0', port: 80 });
    assert.deepEqual(listen('localhost:0'), { host: 'localhost', port: 0 });
    assert.deepEqual(listen('[::1]:65535'), { host: '::1', port: 65_535 });
    for (const wrong of [
      '7400',
      ':7400',
      'host:',
      'host:65536',
      'host:-1',
      '::1:80',
      'host:1e3',
      'a b:1',
      'http://h:1',
    ]) {
      assert.match(faults({ listen: wrong }).join(), /^--listen \(CROSSFADE_LISTEN\): '.*' is not host:port/, wrong);
    }
  });

  test('the bridge', () => {
    const bridgesIn = (text: string | string[]) => read({ bridges: text }).bridges;
    assert.deepEqual(bridgesIn(['http://a', 'http://b/']), ['http://a', 'http://b']);
    assert.deepEqual(bridgesIn('http://a, http://b'), ['http://a', 'http://b']);
    assert.deepEqual(bridgesIn('https://bridge:5000//'), ['https://bridge:5000']);
    assert.deepEqual(bridgesIn('http://bridge/base/'), ['http://bridge/base']);
    for (const wrong of ['bridge:5000', 'ftp://bridge', 'http://']) {
      assert.match(faults({ bridges: wrong }).join(), /^--bridge \(CROSSFADE_BRIDGE\): /, wrong);
    }
  });

  test('a Redis password may hold anything, and is not shown where the address is wrong', () => {
    const redis = 'redis://:a/b+c=d@e@localhost:6379/0';
    assert.equal(read({}, { REDIS_URL: redis }).redis, redis);
    const [fault] = faults({}, { ...keys, REDIS_URL: 'http://:hunter2@localhost' });
    assert.match(fault!, /^--redis \(REDIS_URL\): /);
    assert.ok(!fault!.includes('hunter2'));
  });

  test('whole numbers within their bounds', () => {
    const cases: [key: string, least: number, most: number][] = [
      ['percent', 0, 100],
      ['publishTimeout', 1, 60_000],
      ['coalesceWindow', 1, 60_000],
      ['maxBody', 1, 1_000_000_000],
    ];
    for (const [key, least, most] of cases) {
      for (const right of [least, most])
        assert.equal(read({ bridges: bridge, [key]: String(right) })[key as 'percent'], right);
      for (const wrong of [least - 1, most + 1, '1.5', '1e1', '0x1', ' 1', 'many', 'NaN']) {
        assert.equal(faults({ bridges: bridge, [key]: String(wrong) }).length, 1, `${key} ${wrong}`);
      }
    }
  });

  test('switches are true or false', () => {
    assert.deepEqual(faults({}, { ...keys, EVENT_COALESCING_ENABLED: 'maybe' }), [
      "--no-coalesce (EVENT_COALESCING_ENABLED): 'maybe' is neither true nor false",
    ]);
  });

  test('hubs are proxied with a bridge, and native without one', () => {
    assert.equal(read({ bridges: bridge }).hubs, 'proxy');
    assert.match(faults({ hubs: 'proxy' }).join(), /^--hubs \(CROSSFADE_HUBS\): proxy needs --bridge/);
    assert.match(faults({ hubs: 'both' }).join(), /is not one of: proxy, native/);
  });

  test('names are not empty', () => {
    for (const key of ['instance', 'consumerGroup', 'dataDir', 'contract'])
      assert.equal(faults({ [key]: ' ' }).length, 1);
  });

  test('origins are exact', () => {
    const origins = (allowedOrigins: string) => read({ allowedOrigins }).allowedOrigins;
    assert.deepEqual(origins('https://a.example, http://localhost:3010'), [
      'https://a.example',
      'http://localhost:3010',
    ]);
    for (const wrong of ['*', 'null', 'https://a.example/', 'a.example', 'https://a.example,', 'https://*.example/x']) {
      assert.match(
        faults({ allowedOrigins: wrong }).join(),
        /^--allowed-origins \(CROSSFADE_ALLOWED_ORIGINS\): /,
        wrong,
      );
    }
  });
});

describe('secrets', () => {
  test('come from a variable, or from a file that one names', (t) => {
    const file = secretFile(t, 'from file\n');
    const env = { INTERNAL_API_KEY_FILE: file, JWT_SECRET_KEY: 'from env', JWT_SECRET_KEY_FILE: file };
    const config = readConfig({}, env);
    assert.deepEqual([config.apiKey, config.jwtSecret], ['from file', 'from env']);
  });

  test('the address of Redis may stand in a file, as its password does', (t) => {
    const env = { ...keys, REDIS_URL_FILE: secretFile(t, 'redis://:in-file@r\n') };
    assert.equal(readConfig({}, env).redis, 'redis://:in-file@r');
    assert.equal(readConfig({}, { ...env, REDIS_URL: 'redis://variable' }).redis, 'redis://variable');
    assert.equal(readConfig({ redis: 'redis://flag' }, env).redis, 'redis://flag');
    const missing = { ...keys, REDIS_URL_FILE: '/no-such-directory/url' };
    assert.match(faults({}, missing).join(), /^--redis \(REDIS_URL\): cannot read .*ENOENT/);
  });

  test('the key has an older name too', () => {
    assert.equal(readConfig({}, { SIGNALR_INTERNAL_API_KEY: 'old', JWT_SECRET_KEY: 's' }).apiKey, 'old');
    assert.equal(read({}, { SIGNALR_INTERNAL_API_KEY: 'old' }).apiKey, 'key');
  });

  test('a file that cannot be read, or is empty, is refused: an empty key would let anyone in', (t) => {
    const missing = join(tmpdir(), 'no-such-directory', 'secret');
    assert.match(
      faults({}, { ...keys, CROSSFADE_ADMIN_TOKEN_FILE: missing }).join(),
      /^CROSSFADE_ADMIN_TOKEN_FILE: .*ENOENT/,
    );
    for (const name of ['INTERNAL_API_KEY', 'JWT_SECRET_KEY', 'CROSSFADE_ADMIN_TOKEN']) {
      const env = { ...keys, [name]: '', [`${name}_FILE`]: secretFile(t, '\n') };
      assert.deepEqual(faults({}, env), [`${name}_FILE: is empty`]);
    }
  });

  test('the address of public keys is an address, and kept as it is', () => {
    const config = (CROSSFADE_JWKS_URL: string) => readConfig({}, { INTERNAL_API_KEY: 'key', CROSSFADE_JWKS_URL });
    assert.equal(config('https://issuer/keys/').jwksUrl, 'https://issuer/keys/');
    const [fault] = faults({}, { ...keys, CROSSFADE_JWKS_URL: 'hunter2' });
    assert.equal(fault, 'CROSSFADE_JWKS_URL: is not an http:// or https:// address');
  });
});

describe('closed by default', () => {
  test('no start without a key and without a way to know the clients', () => {
    const lines = faults({}, {});
    assert.deepEqual(
      lines.map((line) => line.split(':')[0]),
      ['INTERNAL_API_KEY', 'JWT_SECRET_KEY or CROSSFADE_JWKS_URL'],
    );
    assert.deepEqual(faults({ insecure: true }, {}), []);
    assert.deepEqual(faults({}, { INTERNAL_API_KEY: 'k', CROSSFADE_JWKS_URL: 'https://issuer/keys' }), []);
  });

  test('admin is not served beyond loopback without its token', () => {
    assert.match(faults({ admin: '0.0.0.0:7402' }).join(), /^--admin \(CROSSFADE_ADMIN\): .*CROSSFADE_ADMIN_TOKEN/);
    assert.deepEqual(faults({ admin: '0.0.0.0:7402' }, { ...keys, CROSSFADE_ADMIN_TOKEN: 't' }), []);
    for (const host of ['localhost', '127.0.0.2', '[::1]']) assert.deepEqual(faults({ admin: `${host}:1` }), []);
  });

  test('loopback is only what this machine alone can reach', () => {
    for (const host of ['127.0.0.1', '127.255.0.9', '::1', 'localhost', '::ffff:127.0.0.1'])
      assert.ok(isLoopback(host), host);
    for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.example.com', '1127.0.0.1', '::ffff:10.0.0.1', '']) {
      assert.ok(!isLoopback(host), host);
    }
  });
});

describe('the sides of a replica', () => {
  const redis = 'redis://localhost';

  test('an edge alone, or an ingress alone', () => {
    assert.equal(read({ listen: 'off', redis }).listen, undefined);
    assert.equal(read({ redis }, { CROSSFADE_EDGE: 'off' }).edge, undefined);
    assert.deepEqual(read({ health: '0.0.0.0:7403' }).health, { host: '0.0.0.0', port: 7403 });
    assert.equal(read({ health: 'off' }).health, undefined);
  });

  test('a replica without any side is none, whatever else is said', () => {
    for (const insecure of [true, false]) {
      assert.deepEqual(faults({ listen: 'off', edge: 'off', redis, insecure }), [
        '--listen (CROSSFADE_LISTEN), --edge (CROSSFADE_EDGE): both are off',
      ]);
    }
  });

  test('one side alone needs a log that the other one has, too', () => {
    for (const side of ['listen', 'edge']) {
      assert.match(faults({ [side]: 'off', bridges: bridge }).join(), new RegExp(`^--${side} .*: off needs --redis`));
      assert.deepEqual(faults({ [side]: 'off', redis }), []);
    }
  });

  test('who takes no client needs no secret of theirs; who takes no call still proves itself by the key', () => {
    assert.deepEqual(faults({ edge: 'off', redis }, { INTERNAL_API_KEY: 'key' }), []);
    assert.match(faults({ listen: 'off', redis }, { JWT_SECRET_KEY: 's' }).join(), /^INTERNAL_API_KEY: is not set/);
  });

  test('how many clients are closed in a second', () => {
    assert.equal(read({ drainRate: '50' }).drainRate, 50);
    for (const wrong of ['0', '-1', 'all']) assert.match(faults({ drainRate: wrong }).join(), /^--drain-rate /);
  });

  test('the other commands find the admin port where serve has it', () => {
    const found = (address: string) => ownAdminUrl({ CROSSFADE_ADMIN: address });
    assert.equal(ownAdminUrl({}), 'http://127.0.0.1:7402');
    assert.equal(found('0.0.0.0:7500'), 'http://127.0.0.1:7500');
    assert.equal(found('[::]:7500'), 'http://[::1]:7500');
    assert.equal(found('10.1.2.3:7500'), 'http://10.1.2.3:7500');
    assert.throws(() => found('7500'), /--admin \(CROSSFADE_ADMIN\): '7500'/);
  });
});

describe('what contradicts itself', () => {
  test('once the bridge was left for good, what is given for it does not count, and clients must be known', () => {
    const given = { bridges: bridge, redis: 'redis://r', percent: '0', mirror: true };
    const secrets = { INTERNAL_API_KEY: 'k', EVENT_TRANSPORT_USE_REDIS_STREAMS: 'false' };
    const left = withoutBridge(readConfig(given, { ...secrets, JWT_SECRET_KEY: 's' }));
    assert.deepEqual(
      [left.bridges, left.hubs, left.percent, left.mirror, left.killSwitch],
      [[], 'native', 100, false, false],
    );
    assert.throws(() => withoutBridge(readConfig(given, secrets)), /JWT_SECRET_KEY/);
  });

  test('native hubs beside a bridge get nothing of the bridge lane', () => {
    assert.match(
      faults({ bridges: bridge, hubs: 'native' }).join(),
      /^--hubs \(CROSSFADE_HUBS\): native with a bridge/,
    );
    assert.deepEqual(faults({ bridges: bridge, hubs: 'native', percent: '100' }), []);
  });

  test('proxied hubs need no secret of the clients: the bridge says who is who', () => {
    assert.deepEqual(faults({ bridges: bridge }, { INTERNAL_API_KEY: 'key' }), []);
  });

  test('without a bridge there is no other lane', () => {
    assert.match(faults({ percent: '99' }).join(), /^--percent \(.*\): 99 needs --bridge/);
    assert.match(faults({ mirror: true }).join(), /^--mirror \(EVENT_TRANSPORT_DUAL_WRITE\): needs --bridge/);
    const killed = faults({}, { ...keys, EVENT_TRANSPORT_USE_REDIS_STREAMS: 'false' });
    assert.equal(killed.length, 1);
    assert.match(killed[0]!, /^EVENT_TRANSPORT_USE_REDIS_STREAMS: false needs --bridge/);
    assert.deepEqual(faults({ percent: '100' }), []);
  });

  test('every fault is listed at once, one line each', () => {
    const lines = faults({ percent: '101', listen: 'x', bridges: 'y' }, { ...keys, EVENT_COALESCING_WINDOW_MS: '0' });
    assert.deepEqual(
      lines.map((line) => line.split(' ')[0]),
      ['--listen', '--bridge', '--percent', '--coalesce-window'],
    );
  });
});

function secretFile(t: TestContext, text: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-config-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'secret');
  writeFileSync(file, text);
  return file;
}

describe('names and words that somebody else uses', () => {
  test('a misspelt variable is refused, and what may have been meant is named', () => {
    const cases: [name: string, line: RegExp][] = [
      ['CROSSFADE_BRIGDE', /^CROSSFADE_BRIGDE: .*did you mean CROSSFADE_BRIDGE\?$/],
      ['CROSSFADE_ADMIN_TOKEN_FIL', /did you mean CROSSFADE_ADMIN_TOKEN_FILE\?$/],
      ['CROSSFADE_PERCENT', /did you mean EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE\?$/],
      ['CROSSFADE_NO_COALESCE', /did you mean EVENT_COALESCING_ENABLED\?$/],
      ['CROSSFADE_NOTHING_LIKE_IT', /^CROSSFADE_NOTHING_LIKE_IT: is no variable of crossfade$/],
    ];
    for (const [name, line] of cases) {
      const [fault, ...others] = faults({}, { ...keys, [name]: '50' });
      assert.match(fault ?? '', line, name);
      assert.deepEqual(others, []);
    }
    assert.deepEqual(faults({}, { ...keys, CROSSFADE_BRIGDE: '' }), [], 'an empty one is not set');
  });

  test('what Kubernetes sets for a Service of that name is no fault', () => {
    const env = {
      CROSSFADE_SERVICE_HOST: '10.0.0.1',
      CROSSFADE_SERVICE_PORT: '7400',
      CROSSFADE_SERVICE_PORT_INGRESS: '7400',
      CROSSFADE_PORT: 'tcp://10.0.0.1:7400',
      CROSSFADE_PORT_7400_TCP: 'tcp://10.0.0.1:7400',
      CROSSFADE_PORT_7400_TCP_ADDR: '10.0.0.1',
      CROSSFADE_EDGE_SERVICE_HOST: '10.0.0.2',
    };
    assert.deepEqual(faults({}, { ...keys, ...env }), []);
  });

  test('the level of the log is taken in Python’s words too, and nothing else is', () => {
    assert.equal(read({}, { LOG_LEVEL: 'WARNING' }).logLevel, 'warn');
    assert.equal(read({}, { LOG_LEVEL: 'Debug' }).logLevel, 'debug');
    assert.match(faults({}, { ...keys, LOG_LEVEL: 'loud' })[0]!, /^LOG_LEVEL: 'loud' is not one of: trace, debug, /);
  });

  test('an address of Redis that cannot be read is refused at once, without the password', () => {
    for (const url of ['redis://:secret@h:notaport', 'redis://:secret@h1,h2/x', 'redis://:secret@/abc']) {
      const [fault] = faults({}, { ...keys, REDIS_URL: url });
      assert.match(fault ?? '', /^--redis \(REDIS_URL\): /, url);
      assert.doesNotMatch(fault!, /secret/);
    }
  });

  test('the setting of the old system for the streams’ length holds for each of them', () => {
    assert.equal(read({}, { EVENT_TRANSPORT_STREAM_MAX_LEN: '7' }).streamMaxLength, 7);
    assert.match(faults({}, { ...keys, EVENT_TRANSPORT_STREAM_MAX_LEN: '0' })[0]!, /^EVENT_TRANSPORT_STREAM_MAX_LEN: /);
  });
});
