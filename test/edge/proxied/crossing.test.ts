// What proxied clients send to others while members of their hub have their connections at crossfade: these are shown it, with its payload
// as it came, and nobody is shown anything of a client whom the bridge refuses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Delivery } from '../../../src/contract/event.ts';
import { nextTurn, record, setUp } from './proxied.ts';

/** As a client sends it, with the text of its payload. */
const offer = (payload: string, id = '') =>
  Buffer.from(`{"type":1,${id}"target":"sendsdpoffer","arguments":["s",${payload}]}\x1e`);

test('a message to others becomes an event for native members, its payload as it came, however large', async () => {
  const { crossing, connect } = setUp();
  crossing.isOn = true;
  const ada = connect('remote-access', { user: 'ada' });
  const payloads = ['{"b":1.10,"a":12345678901234567890,"b":"x"}', JSON.stringify('v=0 '.repeat(20_000))];
  for (const payload of payloads) ada.tap.fromClient(offer(payload));
  await nextTurn();
  assert.equal(crossing.events.length, 0, 'the bridge has not answered this client yet');
  ada.fenceComesBack();
  await nextTurn();
  assert.deepEqual(
    crossing.events.map(({ payload, room }) => [room, payload]),
    payloads.map((payload) => ['s', `{"sessionId":"s","payload":${payload},"fromUserId":"ada"}`]),
  );
  const [first] = crossing.events;
  assert.deepEqual(first!.deliveries, [
    { hub: 'remote-access', group: 'remote-access:s', method: 'SdpOffer', to: 'native' },
  ]);
  ada.tap.fromClient(offer('3', '"invocationId":"7",'));
  assert.equal(crossing.events.length, 3, 'known to the bridge, it is told as it passes by');
  crossing.isOn = false;
  ada.tap.fromClient(offer('4'));
  assert.equal(crossing.events.length, 3, 'where every member is at the bridge, that shows it to all');
});

test('a client that the bridge has let into a session may send all its candidates at once', async () => {
  for (const isOnAtFirst of [true, false]) {
    const { crossing, connect } = setUp();
    crossing.isOn = isOnAtFirst;
    const ada = connect('remote-access', { user: 'ada' });
    const join = { type: 1, invocationId: '1', target: 'JoinSession', arguments: ['s', 'agent'] };
    ada.tap.fromClient(record(join));
    const joined = [{ sessionId: 's', participantType: 'agent' }];
    ada.bridgeSends(record({ type: 1, target: 'SessionJoined', arguments: joined }));
    await nextTurn();
    crossing.isOn = true;
    crossing.events.length = 0;
    const candidate = record({ type: 1, target: 'SendIceCandidate', arguments: ['s', 'udp'] });
    ada.tap.fromClient(Buffer.concat(new Array(40).fill(candidate)));
    await nextTurn();
    assert.equal(crossing.events.length, 40);
    assert.equal(ada.wasCut, false);
  }
});

test('a client that floods others before the bridge knows it is cut off, counted, and reaches nobody', async () => {
  const { crossing, connect, metric } = setUp();
  crossing.isOn = true;
  const eve = connect('remote-access', { user: 'eve' });
  for (let count = 0; count < 17; count++) eve.tap.fromClient(offer('1'));
  await nextTurn();
  assert.deepEqual([eve.wasCut, crossing.events.length], [true, 0]);
  const values = await metric('crossfade_budget_exceeded_total');
  assert.equal(values.find(({ labels }) => labels.budget === 'client_publishes')?.value, 1);
});

test('joins and ends of a session are told when the bridge has confirmed them', async () => {
  const { crossing, connect } = setUp();
  crossing.isOn = true;
  const ada = connect('remote-access', { user: 'ada' });
  ada.tap.fromClient(record({ type: 1, invocationId: '1', target: 'JoinSession', arguments: ['s', 'agent'] }));
  await nextTurn();
  assert.deepEqual(crossing.events, []);
  ada.bridgeSends(
    record({ type: 1, target: 'SessionJoined', arguments: [{ sessionId: 's', participantType: 'agent' }] }),
  );
  const told = () => crossing.events.map(({ deliveries, payload }) => `${deliveries[0]!.method} ${payload}`);
  assert.deepEqual(told(), ['ParticipantJoined {"sessionId":"s","participantType":"agent","userId":"ada"}']);
  ada.tap.ended();
  assert.equal(told()[1], 'ParticipantLeft {"sessionId":"s","userId":"ada"}');
});

test('what the bridge has shown to its own members is shown to no proxied member again', async () => {
  const { joined, fanout } = setUp();
  const member = joined('r');
  const deliver = (to: Pick<Delivery, 'to'>) =>
    fanout.deliver([
      {
        ...{ room: 'r', payload: '1', eventId: '' },
        deliveries: [{ hub: 'chat', group: 'request:r', method: 'TypingIndicator', ...to }],
      },
    ]);
  await deliver({ to: 'native' });
  assert.deepEqual(member.got, []);
  await deliver({});
  assert.equal(member.got.length, 1);
});
