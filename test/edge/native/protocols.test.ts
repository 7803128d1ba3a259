// The handshake of native hubs: which protocol comes of what a client asks for, on which transport.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agreeOnProtocol } from '../../../src/edge/native/protocols.ts';

test('both protocols are accepted up to version 2 in any case; what is not is refused with ASP.NET’s texts', () => {
  const garbage = 'An unexpected error occurred during connection handshake.';
  const cases: [request: string, answer: string][] = [
    ['{"protocol":"json","version":1}', 'json'],
    ['{"version":0,"protocol":"JSON","extra":[1]}', 'json'],
    ['{"protocol":"json","version":2}', 'json'],
    ['{"protocol":"messagepack","version":1}', 'messagepack'],
    ['{"protocol":"MessagePack","version":2}', 'messagepack'],
    ['{"protocol":"json","version":3}', "The server does not support version 3 of the 'json' protocol."],
    ['{"protocol":"MessagePack","version":9}', "The server does not support version 9 of the 'MessagePack' protocol."],
    ['{"protocol":"blazorpack","version":1}', "The protocol 'blazorpack' is not supported."],
    ['{"protocol":"json"}', garbage],
    ['{"protocol":1,"version":1}', garbage],
    ['{"protocol":"json","version":"1"}', garbage],
    ['hello', garbage],
    ['', garbage],
  ];
  for (const [request, expected] of cases) {
    const agreed = agreeOnProtocol(request, true);
    assert.equal(typeof agreed === 'string' ? agreed : agreed.name, expected, request);
  }
});

test('MessagePack is refused where the transport carries text alone', () => {
  assert.equal(
    agreeOnProtocol('{"protocol":"messagepack","version":1}', false),
    "Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format.",
  );
  assert.notEqual(typeof agreeOnProtocol('{"protocol":"json","version":1}', false), 'string');
});
