// Tags in front of connection tokens.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readTagged, tagText, withoutTag } from '../../../src/edge/relay/token-tag.ts';
import { shortTag } from '../../../src/short-key.ts';

const queryOf = (url: string) => new URLSearchParams(url.slice(url.indexOf('?')));
const name = fc.string({ minLength: 1 });
/** Of ASP.NET: base64url. */
const token = fc.stringMatching(/^[\w-]{1,40}$/);

test('whatever is tagged is read again, and the URL is what it was without the tag', () => {
  fc.assert(
    fc.property(name, fc.option(name), token, (replica, bridge, token) => {
      const tag = { replica: shortTag(replica), bridge: bridge === null ? '' : shortTag(bridge) };
      const [before, behind] = ['/hubs/chat?a=%2b+b&ID=', '&access_token=x.y'];
      const url = `${before}${tagText(tag)}${token}${behind}`;
      const tagged = readTagged(queryOf(url))!;
      assert.deepEqual({ ...tagged }, { ...tag, token });
      assert.equal(withoutTag(url, tagged), `/hubs/chat?a=%2b+b&id=${token}${behind}`);
      assert.equal(encodeURIComponent(tagText(tag)), tagText(tag), 'no client escapes it');
    }),
  );
});

test('a tag tells neither the name of a replica nor the address of a bridge', () => {
  assert.match(shortTag('crossfade-edge-7d4f'), /^[\w-]{8}$/);
  assert.notEqual(shortTag('a'), shortTag('b'));
});

test('a token without a tag, several of them, or one of another form, has none', () => {
  for (const id of [
    'id=mJ8x0yq9Qd2g1k3rVb7w5A',
    'id=',
    'x=aaaaaaaa~bbbbbbbb~token',
    'id=aaaaaaaa~bbbbbbbb~',
    'id=aaaaaaaa~bbb~token',
    'id=aaaaaaa~bbbbbbbb~token',
    'id=aaaaaaaa~bbbbbbbb~one&id=two',
    'id=one&id=aaaaaaaa~bbbbbbbb~two',
    'id=aaaaaaaa~bbbbbbbb~one~two',
  ]) {
    assert.equal(readTagged(new URLSearchParams(id)), undefined, id);
  }
});

test('a tag that somebody has escaped is one all the same, and the rest is escaped as clients do', () => {
  const url = '/hubs/chat?i%64=aaaaaaaa%7E%7Et%2Bk';
  const tagged = readTagged(queryOf(url))!;
  assert.deepEqual({ ...tagged }, { replica: 'aaaaaaaa', bridge: '', token: 't+k' });
  assert.equal(withoutTag(url, tagged), '/hubs/chat?id=t%2Bk');
});
