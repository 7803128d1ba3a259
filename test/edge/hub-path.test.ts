// Request lines as clients, and those who try doors, write them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { queryValue, readHubPath, withoutQueryValue } from '../../src/edge/hub-path.ts';

test('hub, negotiation and query are read as ASP.NET reads them', () => {
  const read = (url: string) => {
    const path = readHubPath(url);
    return path && [path.hub, path.negotiates, path.query.toString()];
  };
  assert.deepEqual(read('/hubs/chat?id=a&b'), ['chat', false, 'id=a&b=']);
  assert.deepEqual(read('/HUBS/ch%61t/Negotiate/'), ['chat', true, '']);
  assert.deepEqual(read('/hubs/a/b'), ['', false, '']);
  assert.deepEqual(read('/hubs/?x'), ['', false, 'x=']);
});

test('what is not below /hubs/, or leaves it again, is no hub path', () => {
  const others = [
    '/',
    '/hubs',
    '/internal/stats',
    '/hubsx/chat',
    '/hubs/../internal/stats',
    '/hubs/./chat',
    '/hubs/chat/..',
  ];
  const encoded = [
    '/hubs/%2e%2e/internal',
    '/hubs/%2E./internal',
    '/hubs/..%2finternal',
    '/hubs/..%5cinternal',
    '/hubs/..\\x',
  ];
  for (const url of [...others, ...encoded, '/hubs/%zz', 'http://host/hubs/chat']) {
    assert.equal(readHubPath(url), undefined, url);
  }
  assert.ok(readHubPath('/hubs/..chat') && readHubPath('/hubs/chat?x=/../'));
});

test('a query’s names match in any case', () => {
  assert.equal(queryValue(new URLSearchParams('ID=a+b&id=2'), 'id'), 'a b');
  assert.equal(queryValue(new URLSearchParams('x=1'), 'id'), undefined);
});

test('a value is taken out of a query without touching another byte', () => {
  const without = (url: string) => withoutQueryValue(url, 'usestatefulreconnect');
  assert.equal(without('/n?negotiateVersion=1&useStatefulReconnect=true&a=%2b+&&b'), '/n?negotiateVersion=1&a=%2b+&&b');
  assert.equal(without('/n?UseSTATEFULreconnect=true&a'), '/n?a');
  assert.equal(without('/n?use%53tatefulReconnect'), '/n');
  assert.equal(without('/n?a=useStatefulReconnect'), '/n?a=useStatefulReconnect');
  assert.equal(without('/n'), '/n');
});
