// The built-in contract's hub methods: which arguments they take, when they do nothing, and what they cause.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Effect, HubMethod } from '../../src/contract/contract.ts';
import { loadContract } from '../../src/contract/load.ts';

const source = readFileSync(new URL('../../src/contract/support-center.yaml', import.meta.url), 'utf8');
const contract = loadContract(source, 'support-center.yaml');

function method(hub: string, name: string): HubMethod {
  return contract.hub(hub)!.method(name)!;
}

/** What a method causes, one line an effect: `join group`, `caller Method(arguments)`, `others group Method(argument)`. */
function effectsOf(hub: string, name: string, ...args: string[]): string[] {
  const values = method(hub, name).bind(args);
  assert.ok(values, `${name} does not take ${args}`);
  values.set('sub', '"u1"');
  return method(hub, name).effects.map((effect) => describeEffect(effect, values));
}

function describeEffect(effect: Effect, values: Map<string, string>): string {
  if (effect.kind === 'caller') return `caller ${effect.method}(${effect.arguments(values)})`;
  if (effect.kind !== 'others') return `${effect.kind} ${effect.group(values)}`;
  const { deliveries, payload } = effect.toEvent(values, 'connection-1');
  const [delivery] = deliveries;
  assert.ok(delivery);
  assert.equal(delivery.except, 'connection-1', 'the caller gets nothing');
  return `others ${delivery.group} ${delivery.method}(${payload})`;
}

test('hubs and methods are found in any case, and no others', () => {
  assert.equal(contract.hub('Remote-Access')?.name, 'remote-access');
  assert.equal(method('chat', 'joinroom').name, 'JoinRoom');
  for (const name of ['Nope', 'constructor', '']) assert.equal(contract.hub('chat')!.method(name), undefined);
  assert.equal(contract.hub('constructor'), undefined);
});

test('rooms, tickets and subscriptions', () => {
  assert.deepEqual(effectsOf('chat', 'JoinRoom', '"r"'), ['join request:r', 'caller RoomJoined("r")']);
  assert.deepEqual(effectsOf('chat', 'LeaveRoom', '"r"'), ['leave request:r', 'caller RoomLeft("r")']);
  assert.deepEqual(effectsOf('ticket', 'SubscribeToTicket', '"t"'), ['join ticket:t', 'caller TicketSubscribed("t")']);
  assert.deepEqual(effectsOf('ticket', 'UnsubscribeFromUserTickets'), [
    'leave user-tickets:u1',
    'caller UserTicketsUnsubscribed()',
  ]);
  assert.deepEqual(effectsOf('notification', 'SetActiveChat', 'null'), ['caller ActiveChatSet(null)']);
});

test('what clients send to each other', () => {
  assert.deepEqual(effectsOf('chat', 'SendTyping', '"r"', 'true'), [
    'others request:r TypingIndicator({"requestId":"r","userId":"u1","isTyping":true})',
  ]);
  assert.deepEqual(effectsOf('chat', 'MarkRead', '"r"', '["a","b"]'), [
    'others request:r ReadStatusUpdate({"requestId":"r","userId":"u1","messageIds":["a","b"]})',
  ]);
  const signal = 'others remote-access:s';
  assert.deepEqual(effectsOf('remote-access', 'SendSignal', '"s"', '"Custom"', '{"n":1.10}'), [
    `${signal} Custom({"sessionId":"s","payload":{"n":1.10},"fromUserId":"u1"})`,
  ]);
  for (const name of ['SdpOffer', 'SdpAnswer', 'IceCandidate']) {
    assert.deepEqual(effectsOf('remote-access', `Send${name}`, '"s"', '-0.0'), [
      `${signal} ${name}({"sessionId":"s","payload":-0.0,"fromUserId":"u1"})`,
    ]);
  }
  assert.deepEqual(effectsOf('remote-access', 'LeaveSession', '"s"'), [
    `${signal} ParticipantLeft({"sessionId":"s","userId":"u1"})`,
    'leave remote-access:s',
    'caller SessionLeft("s")',
  ]);
});

test('a group is named by the text of its id, whatever that holds', () => {
  assert.equal(effectsOf('chat', 'JoinRoom', '"\\u00e9 {sub} \\"q\\""')[0], 'join request:é {sub} "q"');
});

test('on connect', () => {
  const onConnect = (hub: string) =>
    contract.hub(hub)!.connect.map((effect) => describeEffect(effect, new Map([['sub', '"u1"']])));
  assert.deepEqual(onConnect('chat'), ['join user:u1']);
  assert.deepEqual(onConnect('ticket'), []);
  assert.deepEqual(onConnect('notification'), ['join notifications:u1', 'caller Connected({"userId":"u1"})']);
});

test('a session says farewell to the others when the connection ends', () => {
  const [join] = method('remote-access', 'JoinSession').effects;
  assert.ok(join?.kind === 'join' && join.farewell);
  const values = new Map([
    ['sub', '"u1"'],
    ['sessionId', '"s"'],
  ]);
  assert.equal(
    describeEffect(join.farewell, values),
    'others remote-access:s ParticipantLeft({"sessionId":"s","userId":"u1"})',
  );
});

test('arguments are bound by count and type, without conversions', () => {
  const binds = (hub: string, name: string, ...args: string[]) => method(hub, name).bind(args) !== undefined;
  assert.ok(binds('chat', 'JoinRoom', 'null'));
  for (const wrong of [[], ['"r"', '"s"'], ['5'], ['true'], ['{}'], ['["r"]']]) {
    assert.ok(!binds('chat', 'JoinRoom', ...wrong), JSON.stringify(wrong));
  }
  for (const wrong of ['"true"', '1', 'null']) assert.ok(!binds('chat', 'SendTyping', '"r"', wrong), wrong);
  for (const right of ['[]', '["a",null]', 'null']) assert.ok(binds('chat', 'MarkRead', '"r"', right), right);
  for (const wrong of ['"a"', '[1]', '{}']) assert.ok(!binds('chat', 'MarkRead', '"r"', wrong), wrong);
  for (const any of ['null', '1.10', '"x"', '{}']) assert.ok(binds('remote-access', 'SendSdpOffer', '"s"', any), any);
});

test('an empty or missing id makes a method do nothing', () => {
  const ignores = (hub: string, name: string, ...args: string[]) =>
    method(hub, name).ignores(method(hub, name).bind(args)!);
  for (const empty of ['null', '""']) assert.ok(ignores('chat', 'JoinRoom', empty));
  assert.ok(!ignores('chat', 'JoinRoom', '" "'));
  assert.ok(ignores('chat', 'MarkRead', '"r"', '[]'));
  assert.ok(!ignores('chat', 'SendTyping', '"r"', 'false'));
  assert.ok(!ignores('notification', 'SetActiveChat', '""'));
});
