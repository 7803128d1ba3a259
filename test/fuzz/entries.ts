// The fuzzers of what stands in Redis: entries of the event streams, notes of the control stream, the shared state, rosters
// and marks, written by somebody who means well (another release, another publisher) or does not. Everything that is not an
// entry is put back after each input, so that an input can be repeated.

import fc from 'fast-check';
import { foreign, streams, types } from './contract-text.ts';
import { anyJson, nearly, objectOf, onWire, type Shape, textOf } from './json.ts';
import { target } from './target.ts';
import type { World } from './world.ts';

/** A Redis command; latin1. */
type Command = readonly string[];

const readMs = 40;
/** The names that inputs use for what a replica of another release might be. */
const strangers = ['stranger', 'stran:ger', '', '__proto__', '\u00ff\u0000'];

const rooms = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('r1', 'r2', 'u1', '', '__proto__', 'ä', '\u0000') },
  { weight: 1, arbitrary: fc.constantFrom('x'.repeat(100_000), '\ud800') },
);
const eventTypes = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...foreign.map(({ type }) => type)) },
  { weight: 1, arbitrary: fc.constantFrom('', 'control', 'unknown', '__proto__', 'constructor', 'x'.repeat(10_000)) },
);
const delivery: Shape = { hub: 'string', group: 'string', method: 'string', except: 'string?' };
const metadata = objectOf(
  {
    trace_id: 'string?',
    source_instance: 'string?',
    coalesced_count: 'int?',
    deliveries: 'Delivery[]',
    version: 'string?',
    typing: 'Typing?',
    ends_typing_of: 'string?',
    epoch: 'int?',
  },
  { Delivery: delivery, Typing: { user: 'string', opened_at: 'string' } },
);
/** Deliveries that somebody is a member of. */
const rightMetadata = fc
  .record({
    hub: fc.constantFrom('chat', 'ticket', 'notification', 'remote-access', 'nothing'),
    group: fc.constantFrom('request:r1', 'user:u1', 'request:the bystander’s room by stream', ''),
    method: fc.constantFrom('ReceiveMessage', 'TypingIndicator', 'x'.repeat(5_000), ''),
  })
  .map((one) => JSON.stringify({ deliveries: [one], source_instance: 'stranger', epoch: 1 }));
const bigJson = fc.integer({ min: 1_000, max: 1_000_000 }).map((length) => `{"content":"${'x'.repeat(length)}"}`);
const payloads = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...foreign).chain((one) => payloadOf(one.payload)) },
  { weight: 2, arbitrary: nearly(anyJson) },
  { weight: 1, arbitrary: bigJson },
);

function payloadOf(shape: Shape | 'any'): fc.Arbitrary<string> {
  return shape === 'any' ? textOf('ChatMessage', types) : objectOf(shape, types);
}

/** A field of an entry, now and then missing or doubled. */
function field(name: string, value: fc.Arbitrary<string>): fc.Arbitrary<readonly string[]> {
  return fc.oneof(
    { weight: 20, arbitrary: value.map((text) => [name, onWire(text)]) },
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: value.map((text) => [name, onWire(text), name, '']) },
    { weight: 1, arbitrary: fc.constantFrom([name, '\u00ff\u00fe'], [name.toUpperCase(), ''], [name, ''], ['', '']) },
  );
}

const times = fc.constantFrom(
  '2026-01-16T10:30:00Z',
  '2026-01-16T10:30:00.123456',
  '',
  'soon',
  '1e9',
  '+275760-09-13T00:00:00.001Z',
);
const ids = fc.constantFrom('', 'e1', 'e2', '__proto__', 'x'.repeat(20_000));
const entry = fc
  .tuple(
    fc.constantFrom(...streams),
    field('event_id', ids),
    field('event_type', eventTypes),
    field('timestamp', times),
    field('room_id', rooms),
    field('payload', payloads),
    field(
      'metadata',
      fc.oneof(metadata, rightMetadata, nearly(rightMetadata), fc.constantFrom('', 'null', '[]', '{}')),
    ),
  )
  .map(([stream, ...fields]) => added(stream!, fields.flat()));

function added(stream: string, fields: readonly string[]): Command {
  return ['XADD', stream, '*', ...(fields.length === 0 ? ['nothing', ''] : fields)];
}

const counters = fc.constantFrom('connections', 'rooms', 'user:u1', 'room:chat request:r1', '__proto__', '');
const numbers = fc.constantFrom('1', '0', '-1', 'NaN', '1e400', '', 'x', '9007199254740993');
const facts = objectOf(
  {
    admin: 'string?',
    hubs: 'string?',
    version: 'string?',
    epoch: 'string?',
    connections: 'string?',
    killed: 'string?',
  },
  {},
);
const stranger = fc.constantFrom(...strangers);
const roster = fc.oneof(
  fc
    .tuple(stranger, counters, numbers)
    .map(([name, counter, value]) => ['HSET', `crossfade:roster:${name}`, counter, value]),
  fc.tuple(stranger, nearly(facts)).map(([name, told]) => ['HSET', `crossfade:roster:${name}`, '', onWire(told)]),
  fc
    .tuple(stranger, fc.constantFrom('facts', 'alive', ''), nearly(facts))
    .map(([name, key, told]) => ['HSET', `crossfade:roster:${name}`, key, onWire(told)]),
  stranger.map((name) => ['SET', `crossfade:roster:${name}`, 'no hash']),
  stranger.map((name) => ['SADD', 'crossfade:replicas', name]),
  fc
    .constantFrom('x', '[]', '["a"]', '{', '["events:chat","signalr-consumers","gone"]')
    .map((note) => ['SADD', 'crossfade:groups', note]),
  fc
    .tuple(ids, fc.constantFrom('kept:', 'kept', 'open:', '', 'x'))
    .map(([id, mark]) => ['SET', `crossfade:id:${id}`, mark, 'PX', '1000']),
  ids.map((id) => ['LPUSH', `crossfade:id:${id}`, 'x']),
  fc.constantFrom(
    ['SET', 'crossfade:shared:token:never-negotiated', 'x', 'PX', '1000'],
    ['LPUSH', 'crossfade:shared:token:never-negotiated', 'x'],
  ),
);

const state: Shape = {
  epoch: 'int',
  percent: 'int',
  pins: 'Pins',
  mirror: 'bool',
  mirrorPercent: 'int',
  hold: 'any',
  operated: 'bool',
  killed: 'string[]',
  remembers: 'bool',
  rememberUntilMs: 'int',
  history: 'any',
};
const noteTypes = {
  State: state,
  Pins: { r1: 'string', r2: 'string' },
  Late: { instance: 'string', rooms: 'string[]' },
};
const epochs = fc.constantFrom('0', '1', '5', '-1', '1.5', '4000', '"5"', 'null');
const percents = fc.constantFrom('0', '50', '100', '101', '-1', '1e9', '"50"');
/** A state that a replica may take for one. */
const rightState = fc
  .tuple(
    epochs,
    percents,
    fc.constantFrom('{}', '{"r1":"stream"}', 'null', '[]', '{"r1":"nowhere"}'),
    fc.constantFrom('[]', '["stranger"]', 'null', '{}', '"x"'),
  )
  .map(([epoch, percent, pins, killed]) => `{"epoch":${epoch},"percent":${percent},"pins":${pins},"killed":${killed}}`);
const states = fc.oneof(nearly(rightState), objectOf(state, noteTypes));

const noteShapes: Record<string, Shape> = {
  'roll call': { id: 'string' },
  here: { id: 'string', instance: 'string' },
  announce: { id: 'string', from: 'State', to: 'State' },
  ready: { id: 'string', instance: 'string', late: 'string[]' },
  commit: { id: 'string', from: 'State', to: 'State', participants: 'string[]', late: 'Late[]' },
  passed: { id: 'string', instance: 'string' },
  abandon: { id: 'string' },
  fence: { id: 'string', rooms: 'string[]' },
  'hub typing': { room: 'string', user: 'string' },
  remembered: { epoch: 'int', instance: 'string' },
  restored: { to: 'State' },
  'what a later release tells': { id: 'string' },
};
const note = fc.constantFrom(...Object.keys(noteShapes)).chain((kind) =>
  fc.tuple(objectOf(noteShapes[kind]!, noteTypes), rightState, rightState).chain(([text, from, to]) => {
    const told = `{"kind":"${kind}",${text.slice(1)}`;
    const withStates = `{"kind":"${kind}","id":"n1","from":${from},"to":${to},"participants":[],"late":[]}`;
    const everywhere = `{"kind":"${kind}","id":"n1","rooms":"all"}`;
    return nearly(fc.constantFrom(told, told, withStates, everywhere));
  }),
);
const controlEntry = fc
  .tuple(
    field('event_id', ids),
    field(
      'event_type',
      fc.oneof({ weight: 20, arbitrary: fc.constant('control') }, { weight: 1, arbitrary: eventTypes }),
    ),
    field('room_id', fc.constantFrom('', '', 'r1')),
    field(
      'payload',
      fc.oneof({ weight: 20, arbitrary: note }, { weight: 1, arbitrary: bigJson }, { weight: 1, arbitrary: anyJson }),
    ),
    field('metadata', fc.constantFrom('{"deliveries":[]}', '{"deliveries":[],"source_instance":"stranger"}', '', 'x')),
  )
  .map((fields) => added('crossfade:control', fields.flat()));
const sharedState = fc.oneof(
  fc
    .tuple(epochs, states)
    .map(([epoch, value]) => ['HSET', 'crossfade:cutover', 'epoch', epoch, 'value', onWire(value)]),
  states.map((value) => ['HSET', 'crossfade:cutover', 'value', onWire(value)]),
  fc.constantFrom(
    ['DEL', 'crossfade:cutover'],
    ['HDEL', 'crossfade:cutover', 'epoch'],
    ['HSET', 'crossfade:cutover', 'epoch', 'x'],
  ),
);

const some = (command: fc.Arbitrary<Command>) => fc.array(command, { minLength: 1, maxLength: 12 });

export const entries = target(
  'entries',
  some(fc.oneof({ weight: 4, arbitrary: entry }, { weight: 1, arbitrary: roster })),
  (commands, world) => play(commands, world),
);
export const notes = target(
  'notes',
  some(
    fc.oneof(
      { weight: 6, arbitrary: controlEntry },
      { weight: 1, arbitrary: sharedState },
      { weight: 1, arbitrary: roster },
    ),
  ),
  (commands, world) => play(commands, world),
);

async function play(commands: Command[], world: World): Promise<void> {
  const client = world.redisClient;
  const before = await client.hgetall('crossfade:cutover');
  for (const [name, ...args] of commands) {
    // Wrong types and the like are Redis' to refuse.
    await client.call(name!, ...args.map((arg) => Buffer.from(arg, 'latin1'))).catch(() => {});
  }
  await new Promise((resolve) => setTimeout(resolve, readMs));
  const pipeline = client.pipeline();
  for (const name of strangers) {
    const bytes = Buffer.from(name, 'latin1');
    pipeline.del(Buffer.concat([Buffer.from('crossfade:roster:'), bytes])).srem('crossfade:replicas', bytes);
  }
  pipeline.srem('crossfade:groups', 'x', '[]', '["a"]', '{', '["events:chat","signalr-consumers","gone"]');
  if (commands.some(([, key]) => key === 'crossfade:cutover')) {
    pipeline.del('crossfade:cutover');
    if (Object.keys(before).length > 0) pipeline.hset('crossfade:cutover', before);
  }
  await pipeline.exec();
}
