// What a hub client sends, right and nearly right: handshakes and records in both protocols, as bytes (latin1), and the
// WebSocket frames that carry them.

import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { methods, types } from './contract-text.ts';
import { anyJson, nearly, onWire, textOf } from './json.ts';

export type Protocol = 'json' | 'messagepack';

const end = '\u001e';

export function handshake(protocol: Protocol): fc.Arbitrary<string> {
  const right = `{"protocol":"${protocol}","version":1}${end}`;
  return fc.oneof(
    { weight: 20, arbitrary: fc.constant(right) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '',
        end,
        `{}${end}`,
        `null${end}`,
        `[]${end}`,
        `{"protocol":1,"version":"1"}${end}`,
        `{"protocol":"json","version":99}${end}`,
        `{"protocol":"blazorpack","version":1}${end}`,
        `{"protocol":"json","version":2}${end}`,
        `{"protocol":null,"version":1}${end}`,
        `{"protocol":"json","version":1,"x":${'['.repeat(2_000)}${']'.repeat(2_000)}}${end}`,
        `{"protocol":"${'x'.repeat(40_000)}`,
      ),
    },
    { weight: 1, arbitrary: nearly(fc.constant(right)) },
  );
}

const ids = fc.constantFrom(
  '',
  '"invocationId":"1",',
  '"invocationId":"",',
  '"invocationId":null,',
  '"invocationId":7,',
);

/** Method and arguments as JSON texts, mostly as the contract has them. */
const invocations = fc.constantFrom(...methods).chain(({ name, args }) =>
  fc.record({
    target: fc.oneof(
      { weight: 12, arbitrary: fc.constant(JSON.stringify(name)) },
      { weight: 1, arbitrary: fc.constantFrom('"Nothing"', '""', 'null', '1', '"__proto__"', '"constructor"') },
    ),
    args: fc.oneof(
      { weight: 12, arbitrary: fc.tuple(...args.map((type) => textOf(type, types))) as fc.Arbitrary<string[]> },
      { weight: 1, arbitrary: fc.array(anyJson, { maxLength: 3 }) },
    ),
  }),
);

const jsonRecord = fc
  .oneof(
    {
      weight: 12,
      arbitrary: fc
        .tuple(fc.constantFrom('1', '1', '1', '1', '4', '"1"'), ids, invocations)
        .map(
          ([type, id, { target, args }]) => `{"type":${type},${id}"target":${target},"arguments":[${args.join(',')}]}`,
        ),
    },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        '{"type":6}',
        '{"type":7}',
        '{"type":7,"error":"x","allowReconnect":true}',
        '{"type":5,"invocationId":"1"}',
        '{"type":3,"invocationId":"1","result":null}',
        '{"type":3,"invocationId":"1","error":"x","result":1}',
        '{"type":2,"invocationId":"1","item":1}',
        '{"type":8,"sequenceId":1}',
        '{"type":9,"sequenceId":-1}',
        '{"type":99}',
        '{"type":1e999}',
        '{"type":1,"target":"JoinRoom"}',
        '{"type":1,"target":"JoinRoom","arguments":{}}',
        '{"type":1,"target":"JoinRoom","arguments":["r1"],"streamIds":["1"]}',
        '{"type":1,"target":"JoinRoom","arguments":["r1"],"headers":{"a":1}}',
        '{}',
        '[]',
        'null',
        '',
        '"',
      ),
    },
    { weight: 1, arbitrary: anyJson },
  )
  .map(onWire);

/** A value as MessagePack, where it is JSON at all. */
function packed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function withPrefix(body: string, more = 0): string {
  const prefix: number[] = [];
  let rest = Math.max(0, body.length + more);
  for (; rest >= 0x80; rest >>>= 7) prefix.push((rest & 0x7f) | 0x80);
  return String.fromCharCode(...prefix, rest) + body;
}

const msgpack = (value: unknown) => Buffer.from(encode(value, { maxDepth: 5_000 })).toString('latin1');
const packedBodies = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(fc.constantFrom(1, 1, 1, 1, 4), fc.constantFrom(null, '1', '', 7), invocations, fc.boolean())
      .map(([type, id, { target, args }, streams]) => {
        const fields = [type, {}, id, packed(target), args.map(packed), ...(streams ? [[]] : [])];
        return msgpack(fields);
      }),
  },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom<unknown>(
        [6],
        [7],
        [7, 'x', true],
        [5, {}, '1'],
        [3, {}, '1', 2],
        [3, {}, '1', 1],
        [8, -1],
        [99],
        [],
        {},
        null,
        'x',
        [[1]],
        [1, {}, null, 'JoinRoom', 'r1'],
        [1, {}, null, 'JoinRoom', [new Uint8Array(3)]],
        [1, null, null, 'JoinRoom', [new Date(0)]],
      )
      .map(msgpack),
  },
  // Lengths that lie, types that nobody uses, and brackets without an end.
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '\u0095\u0001\u0080\u00c0\u00db\u00ff\u00ff\u00ff\u00ff',
      '\u00dd\u00ff\u00ff\u00ff\u00ff',
      '\u00df\u00ff\u00ff\u00ff\u00ff',
      '\u00c1',
      '\u00c9\u0000\u0000\u0000\u0001\u0000',
      '\u0091'.repeat(5_000),
      '\u00c7\u0003\u00ff',
      '',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 30 }).map(onWire) },
);
const packedRecord = fc.oneof(
  { weight: 12, arbitrary: nearly(packedBodies).map((body) => withPrefix(body)) },
  {
    weight: 1,
    arbitrary: fc.tuple(packedBodies, fc.integer({ min: -3, max: 300 })).map(([body, more]) => withPrefix(body, more)),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '\u00ff\u00ff\u00ff\u00ff\u00ff',
      '\u0080\u0080\u0080\u0080\u0080\u0080',
      '\u00ff\u00ff\u00ff\u00ff\u0007',
      '\u0000',
    ),
  },
);

/** Several records in one piece, now and then one of them very often, or very long. */
export function records(protocol: Protocol): fc.Arbitrary<string> {
  const one = protocol === 'json' ? nearly(jsonRecord).map((text) => text + end) : packedRecord;
  return fc.oneof(
    { weight: 20, arbitrary: fc.array(one, { minLength: 1, maxLength: 4 }).map((all) => all.join('')) },
    {
      weight: 1,
      arbitrary: fc.tuple(one, fc.constantFrom(50, 500, 5_000)).map(([text, often]) => repeated(text, often)),
    },
    { weight: 1, arbitrary: fc.integer({ min: 1_000, max: 1_500_000 }).map((length) => long(protocol, length)) },
    { weight: 1, arbitrary: fc.constantFrom(100, 5_000).map((often) => manyIds(protocol, often)) },
  );
}

const maxPieceBytes = 3_000_000;

function repeated(text: string, often: number): string {
  return text.repeat(Math.min(often, Math.max(1, Math.floor(maxPieceBytes / (text.length + 1)))));
}

function long(protocol: Protocol, length: number): string {
  const room = 'x'.repeat(length);
  if (protocol === 'messagepack') return withPrefix(msgpack([1, {}, null, 'JoinRoom', [room], []]));
  return `{"type":1,"target":"JoinRoom","arguments":["${room}"]}${end}`;
}

/** Each invocation for a room, or of an id, of its own. */
function manyIds(protocol: Protocol, often: number): string {
  const all = Array.from({ length: often }, (_, index) => {
    const [target, args] = index % 2 === 0 ? ['JoinRoom', [`r-${index}`]] : ['MarkRead', ['r1', [`m-${index}`]]];
    if (protocol === 'messagepack') return withPrefix(msgpack([1, {}, null, target, args, []]));
    return JSON.stringify({ type: 1, target, arguments: args }) + end;
  });
  return all.join('');
}

/** WebSocket frames, mostly as a client should send them. @param payload latin1 */
export function frame(payload: fc.Arbitrary<string>, protocol: Protocol): fc.Arbitrary<string> {
  const opcode = protocol === 'json' ? 1 : 2;
  const shape = fc.oneof(
    { weight: 25, arbitrary: fc.constant({ first: 0x80 | opcode, masked: true, more: 0 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        { first: opcode, masked: true, more: 0 },
        { first: 0x80, masked: true, more: 0 },
        { first: 0x80 | (3 - opcode), masked: true, more: 0 },
        { first: 0xc0 | opcode, masked: true, more: 0 },
        { first: 0x83, masked: true, more: 0 },
        { first: 0x8f, masked: true, more: 0 },
        { first: 0x88, masked: true, more: 0 },
        { first: 0x89, masked: true, more: 0 },
        { first: 0x8a, masked: true, more: 0 },
        { first: 0x09, masked: true, more: 0 },
        { first: 0x80 | opcode, masked: false, more: 0 },
        { first: 0x80 | opcode, masked: true, more: 7 },
        { first: 0x80 | opcode, masked: true, more: 2 ** 31 },
        { first: 0x80 | opcode, masked: true, more: 2 ** 52 },
      ),
    },
  );
  const data = fc.tuple(shape, payload).map(([{ first, masked, more }, text]) => frameOf(text, first, masked, more));
  const control = fc
    .tuple(
      fc.constantFrom(0x88, 0x89, 0x8a),
      fc.constantFrom(
        '',
        '\u0003\u00e8',
        '\u0003\u00e8bye',
        '\u0003',
        '\u0000\u0000',
        '\u0003\u00ed',
        'x'.repeat(125),
        'x'.repeat(126),
      ),
    )
    .map(([first, text]) => frameOf(text, first, true, 0));
  return fc.oneof({ weight: 15, arbitrary: data }, { weight: 1, arbitrary: control });
}

/** The mask is all zeros, which is one, too: so the payload is read in a find as it is. */
function frameOf(payload: string, first: number, masked: boolean, more: number): string {
  const length = payload.length + more;
  const head = Buffer.alloc(length < 126 ? 2 : length < 0x1_0000 ? 4 : 10);
  head[0] = first;
  head[1] = (masked ? 0x80 : 0) | (length < 126 ? length : length < 0x1_0000 ? 126 : 127);
  if (length >= 0x1_0000) head.writeBigUInt64BE(BigInt(length), 2);
  else if (length >= 126) head.writeUInt16BE(length, 2);
  return head.toString('latin1') + (masked ? '\u0000'.repeat(4) : '') + payload;
}
