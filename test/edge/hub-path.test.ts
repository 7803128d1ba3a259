// What a request line on the edge port may mean: hubs, in every spelling that the bridge takes for one, and nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hubUrlOf, queryValue, readHubPath, withoutQueryValue } from '../../src/edge/hub-path.ts';

test('a hub is found as the bridge finds it', () => {
  const cases: [url: string, hub: string, negotiates: boolean, refreshes?: boolean][] = [
    ['/hubs/chat', 'chat', false],
    ['/HUBS/Chat/?id=1', 'Chat', false],
    ['/hubs/%63hat/negotiate?negotiateVersion=1', 'chat', true],
    ['/hubs/remote-access/Negotiate/', 'remote-access', true],
    ['/hubs/chat/other', '', false],
    ['/hubs/chat/refresh?id=1', 'chat', false, true],
    ['/HUBS/team/chat/Refresh/?id=1', '', false, true],
    ['/hubs/refresh?id=1', 'refresh', false],
    ['/hubs/chat?next=/../internal', 'chat', false],
  ];
  for (const [url, hub, negotiates, refreshes = false] of cases) {
    const { query, ...found } = readHubPath(url)!;
    assert.deepEqual(found, { hub, negotiates, refreshes }, url);
  }
});

test('nothing that leaves /hubs/ is a hub path, however it is written', () => {
  for (const url of [
    '/internal/stats',
    '//hubs/chat',
    '/hubs',
    '/hubsx/chat',
    '/hubs/../internal/stats',
    '/hubs/..%2finternal/stats',
    '/hubs/%2e%2e/internal/stats',
    '/hubs/.%2E%2Finternal/stats',
    '/hubs/chat/..\\..\\internal/stats',
    '/hubs/chat/%2e%2e%5c..%5cinternal/stats',
    '/hubs/./../internal/stats',
    '/hubs/chat/..?x=1',
    '/hubs/%ff/../internal/stats',
    'http://crossfade/hubs/chat',
    'http://crossfade/internal/stats',
    '*',
  ]) {
    assert.equal(readHubPath(url), undefined, url);
  }
});

test('a repeated query value is what the bridge makes of it: no client shows here what the bridge never takes', () => {
  const { query } = readHubPath('/hubs/chat?ID=mine&x=1&id=other')!;
  assert.equal(queryValue(query, 'id'), 'mine,other');
  assert.equal(queryValue(query, 'X'), '1');
  assert.equal(queryValue(query, 'missing'), undefined);
});

test('a refresh is of a hub whose URL stands in its own', () => {
  assert.equal(hubUrlOf('/hubs/chat/refresh?id=1&access_token=x'), '/hubs/chat?id=1&access_token=x');
  assert.equal(hubUrlOf('/hubs/chat/Refresh/'), '/hubs/chat');
  assert.equal(hubUrlOf('/hubs/chat?next=/refresh'), undefined);
});

test('a query value is taken out, every other byte stays', () => {
  const url = '/hubs/chat/negotiate?a=%20+&UseStatefulReconnect=true&b&use%53tatefulreconnect=1';
  assert.equal(withoutQueryValue(url, 'usestatefulreconnect'), '/hubs/chat/negotiate?a=%20+&b');
  assert.equal(
    withoutQueryValue('/hubs/chat/negotiate?useStatefulReconnect=true', 'usestatefulreconnect'),
    '/hubs/chat/negotiate',
  );
});

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
  assert.equal(queryValue(new URLSearchParams('ID=a+b'), 'id'), 'a b');
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
