// What a request line on the edge port may mean: hubs, in every spelling that the bridge takes for one, and nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { queryValue, readHubPath, withoutQueryValue } from '../../src/edge/hub-path.ts';

test('a hub is found as the bridge finds it', () => {
  const cases: [url: string, hub: string, negotiates: boolean][] = [
    ['/hubs/chat', 'chat', false],
    ['/HUBS/Chat/?id=1', 'Chat', false],
    ['/hubs/%63hat/negotiate?negotiateVersion=1', 'chat', true],
    ['/hubs/remote-access/Negotiate/', 'remote-access', true],
    ['/hubs/chat/other', '', false],
    ['/hubs/chat?next=/../internal', 'chat', false],
  ];
  for (const [url, hub, negotiates] of cases) {
    const { query, ...found } = readHubPath(url)!;
    assert.deepEqual(found, { hub, negotiates }, url);
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

test('a query value is taken out, every other byte stays', () => {
  const url = '/hubs/chat/negotiate?a=%20+&UseStatefulReconnect=true&b&use%53tatefulreconnect=1';
  assert.equal(withoutQueryValue(url, 'usestatefulreconnect'), '/hubs/chat/negotiate?a=%20+&b');
  assert.equal(
    withoutQueryValue('/hubs/chat/negotiate?useStatefulReconnect=true', 'usestatefulreconnect'),
    '/hubs/chat/negotiate',
  );
});
