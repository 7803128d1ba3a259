import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRedisUrl } from '../src/redis-url.ts';

const plain = { host: 'h', port: 6379, db: 0, tls: false };

const readable: [url: string, parts: object][] = [
  ['redis://h', plain],
  ['redis://h/', plain],
  ['redis://h:6380/3', { ...plain, port: 6380, db: 3 }],
  ['rediss://h:6380', { ...plain, port: 6380, tls: true }],
  ['redis://:secret@h', { ...plain, password: 'secret' }],
  ['redis://user@h', { ...plain, username: 'user' }],
  ['redis://user:secret@h', { ...plain, username: 'user', password: 'secret' }],
  ['redis://:a/b+c=d@e@h:1/2', { ...plain, port: 1, db: 2, password: 'a/b+c=d@e' }],
  ['redis://user:a:b?c#d@h', { ...plain, username: 'user', password: 'a:b?c#d' }],
  ['redis://:a%2Fb@h', { ...plain, password: 'a/b' }],
  ['redis://:100%@h', { ...plain, password: '100%' }],
  ['redis://[::1]:6380', { ...plain, host: '::1', port: 6380 }],
];
for (const [url, parts] of readable) {
  test(`${url} is read`, () => assert.deepEqual(parseRedisUrl(url), parts));
}

for (const url of [
  'http://:secret@h',
  'redis://',
  'redis://:secret@',
  'redis://:secret@h:0',
  'redis://:secret@h:70000',
  'redis://:secret@h:x',
  'redis://:secret@h/x',
]) {
  test(`${url} is refused without a word of the password`, () => {
    assert.throws(
      () => parseRedisUrl(url),
      (error: Error) => 'code' in error && error.code === 'CONFIG_INVALID' && !error.message.includes('secret'),
    );
  });
}
