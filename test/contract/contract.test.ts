// The built-in contract against what the backend sends: what each call's body may be, and which event it becomes. The fields
// are written down here once more, so that a slip in the contract file shows.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { BodyFault, type Call, type Contract } from '../../src/contract/contract.ts';
import type { Event } from '../../src/contract/event.ts';
import { ContractError, loadContract } from '../../src/contract/load.ts';

const source = readFileSync(new URL('../../src/contract/support-center.yaml', import.meta.url), 'utf8');
const contract = loadContract(source, 'support-center.yaml');

interface Field {
  type: 'string' | 'int' | 'bool' | 'any' | 'list' | Fields;
  optional?: true;
  /** Raw JSON. */
  fallback?: string;
}
type Fields = Record<string, Field>;

const string: Field = { type: 'string' };
const optional: Field = { type: 'string', optional: true };
const any: Field = { type: 'any' };
const no: Field = { type: 'bool', fallback: 'false' };
const zero: Field = { type: 'int', fallback: '0' };

const sender: Field = {
  type: { id: string, username: string, fullName: optional, email: optional },
  optional: true,
};
const chatMessage: Field = {
  type: {
    id: string,
    requestId: string,
    senderId: optional,
    sender,
    content: string,
    sequenceNumber: zero,
    isScreenshot: no,
    screenshotFileName: optional,
    isRead: no,
    createdAt: string,
    updatedAt: optional,
    clientTempId: optional,
  },
};
const notificationMessage: Field = {
  type: {
    id: string,
    requestId: string,
    requestTitle: optional,
    senderId: optional,
    sender,
    content: string,
    sequenceNumber: zero,
    isScreenshot: no,
    screenshotFileName: optional,
    createdAt: string,
  },
};
const remoteSession: Field = {
  type: {
    sessionId: string,
    agentId: string,
    agentName: optional,
    requestId: string,
    requestTitle: optional,
    mode: { type: 'string', fallback: '"view"' },
    autoApproved: { type: 'bool', fallback: 'true' },
    isReconnection: no,
  },
};

/** Raw JSON of a body that holds every field, whose texts are the fields' own names. */
function sample({ type }: Field, name: string): string {
  if (typeof type === 'object') {
    return `{${Object.entries(type)
      .map(([inner, field]) => `"${inner}":${sample(field, inner)}`)
      .join(',')}}`;
  }
  return { string: `"${name}"`, int: '7', bool: 'true', any: '{"n":1.10}', list: '["a","b"]' }[type];
}

interface Expected {
  body: Fields;
  stream: string;
  type: string;
  room: string;
  /** Raw JSON. */
  payload: string;
  /** `hub group method` */
  deliver: string[];
}

const uac = 'Waiting for user to complete UAC prompt...';
const base = { event_id: string };

const calls: Record<string, Expected> = {
  'chat/message': {
    body: { ...base, request_id: string, message: chatMessage },
    stream: 'events:chat',
    type: 'chat_message',
    room: 'request_id',
    payload: sample(chatMessage, 'message'),
    deliver: ['chat request:request_id ReceiveMessage'],
  },
  'chat/typing': {
    body: { ...base, request_id: string, user_id: string, is_typing: no },
    stream: 'events:chat',
    type: 'typing_start',
    room: 'request_id',
    payload: '{"requestId":"request_id","userId":"user_id","isTyping":true}',
    deliver: ['chat request:request_id TypingIndicator'],
  },
  'chat/read-status': {
    body: { ...base, request_id: string, user_id: string, message_ids: { type: 'list' } },
    stream: 'events:chat',
    type: 'read_receipt',
    room: 'request_id',
    payload: '{"requestId":"request_id","userId":"user_id","messageIds":["a","b"]}',
    deliver: ['chat request:request_id ReadStatusUpdate'],
  },
  'ticket/update': {
    body: { ...base, request_id: string, update: { type: { type: string, data: any, requestId: string } } },
    stream: 'events:ticket',
    type: 'status_change',
    room: 'request_id',
    payload: '{"type":"type","data":{"n":1.10},"requestId":"requestId"}',
    deliver: ['chat request:request_id TicketUpdate', 'ticket ticket:request_id TicketUpdate'],
  },
  'ticket/task-status': {
    body: { ...base, request_id: string, status: string, changed_by: optional },
    stream: 'events:ticket',
    type: 'status_change',
    room: 'request_id',
    payload: '{"requestId":"request_id","status":"status","changedBy":"changed_by"}',
    deliver: ['chat request:request_id TaskStatusChanged', 'ticket ticket:request_id TaskStatusChanged'],
  },
  'ticket/new': {
    body: { ...base, requester_id: string, assigned_to_id: optional, ticket: any },
    stream: 'events:ticket',
    type: 'ticket_list_update',
    room: 'requester_id',
    payload: '{"n":1.10}',
    deliver: ['ticket user-tickets:requester_id NewTicket', 'ticket user-tickets:assigned_to_id NewTicket'],
  },
  'ticket/system-message': {
    body: { ...base, request_id: string, type: string, message: chatMessage },
    stream: 'events:chat',
    type: 'chat_message',
    room: 'request_id',
    payload: sample(chatMessage, 'message'),
    deliver: ['chat request:request_id ReceiveMessage'],
  },
  'notification/new-message': {
    body: { ...base, request_id: string, message: notificationMessage, sender_id: optional },
    stream: 'events:notification',
    type: 'notification',
    room: 'request_id',
    payload: sample(notificationMessage, 'message'),
    deliver: ['notification request-notifications:request_id NewMessageNotification'],
  },
  'notification/send': {
    body: { ...base, user_id: string, notification: any },
    stream: 'events:notification',
    type: 'notification',
    room: 'user_id',
    payload: '{"n":1.10}',
    deliver: ['notification notifications:user_id Notification'],
  },
  'notification/subscription-added': {
    body: { ...base, user_id: string, request_id: string },
    stream: 'events:notification',
    type: 'notification',
    room: 'user_id',
    payload: '{"requestId":"request_id"}',
    deliver: ['notification notifications:user_id SubscriptionAdded'],
  },
  'notification/subscription-removed': {
    body: { ...base, user_id: string, request_id: string },
    stream: 'events:notification',
    type: 'notification',
    room: 'user_id',
    payload: '{"requestId":"request_id"}',
    deliver: ['notification notifications:user_id SubscriptionRemoved'],
  },
  'remote-access/auto-start': {
    body: { ...base, requester_id: string, session: remoteSession },
    stream: 'events:remote',
    type: 'remote_session_start',
    room: 'requester_id',
    payload: sample(remoteSession, 'session'),
    deliver: [
      'notification notifications:requester_id RemoteSessionAutoStart',
      'chat user:requester_id RemoteSessionAutoStart',
    ],
  },
  'remote-access/ended': {
    body: { ...base, session_id: string, reason: string, ended_by: optional },
    stream: 'events:remote',
    type: 'remote_session_end',
    room: 'session_id',
    payload: '{"sessionId":"session_id","reason":"reason","endedBy":"ended_by"}',
    deliver: ['remote-access remote-access:session_id SessionEnded'],
  },
  'remote-access/reconnect': {
    body: { ...base, requester_id: string, session: remoteSession },
    stream: 'events:remote',
    type: 'remote_session_start',
    room: 'requester_id',
    payload: sample(remoteSession, 'session'),
    deliver: ['notification notifications:requester_id RemoteSessionReconnect'],
  },
  'remote-access/uac-detected': {
    body: { ...base, session_id: string, agent_id: string },
    stream: 'events:remote',
    type: 'uac_detected',
    room: 'session_id',
    payload: `{"sessionId":"session_id","message":"${uac}"}`,
    deliver: ['remote-access remote-access:session_id UacDetected'],
  },
  'remote-access/uac-dismissed': {
    body: { ...base, session_id: string, agent_id: string },
    stream: 'events:remote',
    type: 'uac_dismissed',
    room: 'session_id',
    payload: '{"sessionId":"session_id"}',
    deliver: ['remote-access remote-access:session_id UacDismissed'],
  },
};

describe('the built-in contract', () => {
  test('has the 16 calls, the 4 streams and the 4 hubs', () => {
    assert.deepEqual(contract.calls.map(({ path }) => path).toSorted(), Object.keys(calls).toSorted());
    assert.deepEqual(
      [...contract.streams.values()].map(({ name, maxLength }) => [name, maxLength]),
      [
        ['events:chat', 10_000],
        ['events:ticket', 5_000],
        ['events:notification', 5_000],
        ['events:remote', 1_000],
      ],
    );
    assert.deepEqual(
      contract.hubs.map(({ name, methods }) => [name, methods.length]),
      [
        ['chat', 4],
        ['ticket', 4],
        ['notification', 2],
        ['remote-access', 10],
      ],
    );
  });

  test('finds a call in any case and with a trailing slash, and no other', () => {
    assert.equal(contract.call('CHAT/Message/')?.path, 'chat/message');
    for (const path of ['chat', 'chat/message//', 'remote-access/control-changed', 'constructor', '']) {
      assert.equal(contract.call(path), undefined, path);
    }
  });
});

for (const [path, expected] of Object.entries(calls)) {
  describe(path, () => {
    const call = contract.call(path)!;

    test('becomes its event', () => {
      const event = eventOf(call, sample({ type: expected.body }, ''));
      assert.deepEqual(event.eventIds, ['event_id']);
      assert.equal(event.stream, expected.stream);
      assert.equal(event.maxLength, contract.streams.get(expected.stream)!.maxLength);
      assert.equal(event.eventType, expected.type);
      assert.equal(event.room, expected.room);
      assert.equal(event.payload, expected.payload);
      assert.deepEqual(
        event.deliveries.map(({ hub, group, method }) => `${hub} ${group} ${method}`),
        expected.deliver,
      );
      assert.ok(event.deliveries.every((delivery) => !('except' in delivery)));
    });

    test('takes names in any case, the last of a repeated one, a byte order mark, and drops what it does not know', () => {
      const raws = Object.entries(expected.body).map(([name, field]) => `"${name}":${sample(field, name)}`);
      const known = contractValues(call, `{${raws.join(',')}}`);
      const odd = raws.map((raw) => raw.replace(/^"\w+"/, (name) => name.toUpperCase()));
      const wrongFirst = `"event_id":"earlier","constructor":[1],"__proto__":{"x":1}`;
      assert.deepEqual(contractValues(call, `\ufeff {${wrongFirst},\n${odd.join(' ,\t')}} `), known);
    });

    test('keeps an empty event_id from being an id', () => {
      const body = JSON.parse(sample({ type: expected.body }, ''));
      assert.deepEqual(eventOf(call, JSON.stringify({ ...body, event_id: '' })).eventIds, []);
    });

    for (const { place, field, parent } of fieldsOf(expected.body)) {
      const body = (raw: string | undefined) => bodyWith(expected.body, place, raw);
      const at = `$.${place.join('.')}`;
      const readValue = (raw: string | undefined) => call.read(body(raw)).get(place.join('.'));

      test(`${place.join('.')}: missing`, () => {
        if (field.optional || field.fallback) assert.equal(readValue(undefined), field.fallback ?? 'null');
        else assertFault(call, body(undefined), ['$', ...parent].join('.'), place.at(-1));
      });

      test(`${place.join('.')}: null`, () => {
        if (field.optional) assert.equal(readValue('null'), 'null');
        else if (field.type === 'bool' || field.type === 'int') assertFault(call, body('null'), at);
        else assertFault(call, body('null'), place.map(pascal).join('.'));
      });

      test(`${place.join('.')}: what it may be and what not`, () => {
        const { right, wrong } = judged(field);
        for (const [raw, written = raw] of right) assert.equal(readValue(raw), written, raw);
        for (const raw of wrong) assertFault(call, body(raw), at);
      });
    }
  });
}

describe('events', () => {
  const eventOfBody = (path: string, body: object) => eventOf(contract.call(path)!, JSON.stringify(body));

  test('a typing call that ends typing is a typing_stop', () => {
    const event = eventOfBody('chat/typing', { event_id: 'e', request_id: 'r', user_id: 'u' });
    assert.equal(event.eventType, 'typing_stop');
    assert.equal(event.payload, '{"requestId":"r","userId":"u","isTyping":false}');
  });

  test('an update of type `assigned` is an assignment_change, every other type a status_change', () => {
    const typeOf = (type: string) =>
      eventOfBody('ticket/update', { event_id: 'e', request_id: 'r', update: { type, data: 1, requestId: 'r' } })
        .eventType;
    assert.equal(typeOf('assigned'), 'assignment_change');
    for (const type of ['status_changed', '', 'Assigned', 'constructor', 'toString', '__proto__']) {
      assert.equal(typeOf(type), 'status_change', type);
    }
  });

  test('a new ticket goes to its requester, and to whom it is assigned, twice if they are one', () => {
    const groupsOf = (assigned: object) =>
      eventOfBody('ticket/new', { event_id: 'e', requester_id: 'u1', ticket: {}, ...assigned }).deliveries.map(
        ({ group }) => group,
      );
    assert.deepEqual(groupsOf({ assigned_to_id: 'u2' }), ['user-tickets:u1', 'user-tickets:u2']);
    assert.deepEqual(groupsOf({ assigned_to_id: 'u1' }), ['user-tickets:u1', 'user-tickets:u1']);
    for (const nobody of [{}, { assigned_to_id: null }, { assigned_to_id: '' }]) {
      assert.deepEqual(groupsOf(nobody), ['user-tickets:u1']);
    }
  });

  test('(any) travels as it was sent, without its whitespace', () => {
    const raw =
      '{"n": 12345678901234567890, "p":1.10,"e":1e3,"neg":-0.0,"u":"\\u00e9\u2028","dup":1,"dup":2,"__proto__":{ }}';
    const body = `{"event_id":"e","user_id":"u","notification":${raw}}`;
    assert.equal(eventOf(contract.call('notification/send')!, body).payload, raw.replaceAll(' ', ''));
  });

  test('a message ends the typing of its sender, if it has one', () => {
    const message = { id: 'm', requestId: 'r', content: 'c', createdAt: 't' };
    const endsTypingOf = (senderId: unknown) =>
      eventOfBody('chat/message', { event_id: 'e', request_id: 'r', message: { ...message, senderId } }).endsTypingOf;
    assert.equal(endsTypingOf('u1'), 'u1');
    for (const nobody of [undefined, null, '']) assert.equal(endsTypingOf(nobody), undefined);
  });

  test('an empty room is a room', () => {
    const event = eventOfBody('chat/typing', { event_id: 'e', request_id: '', user_id: 'u' });
    assert.deepEqual([event.room, event.deliveries[0]!.group], ['', 'request:']);
  });

  test('only typing and read receipts are coalesced', () => {
    const coalesced = contract.calls.filter(
      (call) => eventOf(call, sample({ type: calls[call.path]!.body }, '')).coalescing !== undefined,
    );
    assert.deepEqual(
      coalesced.map(({ path }) => path),
      ['chat/typing', 'chat/read-status'],
    );
  });

  test('start and stop of one user’s typing share a window', () => {
    const [start, stop] = [true, false].map((is_typing, i) =>
      eventOfBody('chat/typing', { event_id: `e${i}`, request_id: 'r', user_id: 'u', is_typing }),
    );
    assert.deepEqual([start!.eventType, stop!.eventType], ['typing_start', 'typing_stop']);
    assert.deepEqual(start!.coalescing, stop!.coalescing);
    assert.deepEqual([start!.coalescing!.typingOf, start!.coalescing!.union], ['u', undefined]);
  });

  test('read receipts name the list that is united, and write their payload with another', () => {
    const read = (message_ids: unknown[]) =>
      eventOfBody('chat/read-status', { event_id: 'e', request_id: 'r', user_id: 'u', message_ids }).coalescing;
    const { typingOf, union } = read(['a', null])!;
    assert.deepEqual([typingOf, union!.items], [undefined, ['"a"', 'null']]);
    const united = new Set(['"a"', '"b"', 'null']);
    assert.equal(union!.payloadOf(united), '{"requestId":"r","userId":"u","messageIds":["a","b",null]}');
    assert.deepEqual(read([])!.union!.items, []);
    assert.equal(read(['x'.repeat(70_000)]), undefined, 'a list too long for a window goes by itself');
  });

  test('users, and typing and receipts of one user, are kept apart', () => {
    const typing = (user_id: string) =>
      eventOfBody('chat/typing', { event_id: 'e', request_id: 'r', user_id }).coalescing!.key;
    const receipt = eventOfBody('chat/read-status', { event_id: 'e', request_id: 'r', user_id: 'u', message_ids: [] });
    assert.equal(new Set([typing('u'), typing('v'), receipt.coalescing!.key]).size, 3);
  });
});

describe('bodies that are refused as a whole', () => {
  const call = contract.call('chat/typing')!;
  const right = '"event_id":"e","request_id":"r","user_id":"u"';

  test('nothing, and null', () => {
    for (const body of ['', 'null']) assertFault(call, body, '');
  });

  test('anything but an object', () => {
    for (const body of ['[]', '"x"', '1', 'true']) assertFault(call, body, '$');
  });

  test('what is not JSON', () => {
    for (const body of [`{${right},}`, `{/*c*/${right}}`, `{${right}} x`]) assertFault(call, body, '$');
    assertFault(call, '{"event_id":', '$.event_id');
    assertFault(call, `{${right},"extra":"\\ud83d"}`, '$.extra');
  });

  test('nesting deeper than 32, the envelope counted', () => {
    const send = contract.call('notification/send')!;
    const body = (levels: number) =>
      `{"event_id":"e","user_id":"u","notification":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    assert.equal(eventOf(send, body(31)).payload, '['.repeat(31) + ']'.repeat(31));
    assertFault(send, body(32), '$.notification');
  });

  test('every null is named at once', () => {
    assert.throws(
      () => call.read('{"event_id":null,"request_id":null,"user_id":"u"}'),
      (error) => {
        assert.ok(error instanceof BodyFault);
        assert.deepEqual(Object.keys(error.errors).toSorted(), ['EventId', 'RequestId']);
        return true;
      },
    );
  });

  test('a null that is repeated with a value is no fault: the last one wins', () => {
    assert.equal(call.read(`{"request_id":null,${right}}`).get('request_id'), '"r"');
    assertFault(call, `{${right},"request_id":null}`, 'RequestId');
    const message = (text: string) => `{"event_id":"e","request_id":"r",${text}}`;
    const whole = '"message":{"id":"m","requestId":"r","content":"c","createdAt":"t"}';
    const chat = contract.call('chat/message')!;
    assert.ok(chat.read(message(`"message":{"id":null,"requestId":"r","content":"c","createdAt":"t"},${whole}`)));
    assert.ok(chat.read(message(`"message":null,${whole}`)));
    const withSender = whole.replace('}', ',"sender":{"id":"u","username":"U"}}');
    assert.equal(chat.read(message(`${withSender},${whole}`)).get('message.sender.id'), undefined);
  });
});

describe('entries of another publisher', () => {
  const show = (type: string, payload: string) => {
    const { payload: argument, deliveries } = contract.foreign(type)!.toEvent('r1', payload);
    return [argument, ...deliveries.map(({ hub, group, method }) => `${hub} ${group} ${method}`)];
  };

  test('every event type of the streams is known', () => {
    const types = ['chat_message', 'typing_start', 'typing_stop', 'read_receipt', 'status_change', 'assignment_change'];
    for (const type of [...types, 'ticket_list_update', 'notification', 'remote_session_start', 'remote_session_end']) {
      assert.ok(contract.foreign(type), type);
    }
    for (const type of ['other', 'constructor', '']) assert.equal(contract.foreign(type), undefined);
  });

  test('a message is shown as it is, typing in the shape of the hub', () => {
    assert.deepEqual(show('chat_message', '{"a": 1.10}'), ['{"a": 1.10}', 'chat request:r1 ReceiveMessage']);
    assert.deepEqual(show('typing_start', '{"user_id":"u","username":"U","is_typing":true}'), [
      '{"requestId":"r1","userId":"u","isTyping":true}',
      'chat request:r1 TypingIndicator',
    ]);
    assert.deepEqual(show('typing_stop', '{"user_id":"u"}')[0], '{"requestId":"r1","userId":"u","isTyping":false}');
    assert.throws(() => show('typing_start', '{}'), BodyFault);
  });
});

describe('a contract file that cannot be used', () => {
  test('is refused with every fault and its line', () => {
    const text = source
      .replace('room: "{request_id}"', 'room: "{request_idd}"')
      .replace('stream: events:ticket', 'stream: events:tickets')
      .replace('hub: notification, group', 'hub: notifications, group')
      .replace('content: string\n', 'content: strin\n')
      .replace('sequenceNumber: int = 0', 'sequenceNumber: int = many');
    const lineOf = (part: string) => text.slice(0, text.indexOf(part)).split('\n').length;
    const faults = faultsOf(text);
    const found = faults.map(({ line, message }) => [line, message.split(' ')[0]]);
    for (const [part, word] of [
      ['content: strin\n', "'strin'"],
      ['sequenceNumber: int = many', "'many'"],
      ['room: "{request_idd}"', "'request_idd'"],
      ['stream: events:tickets', "'events:tickets'"],
      ['hub: notifications, group', "'notifications'"],
    ] as const) {
      assert.ok(
        found.some(([line, first]) => line === lineOf(part) && first === word),
        `${part}: ${JSON.stringify(faults)}`,
      );
    }
    assert.deepEqual(
      faults.map(({ line }) => line),
      faults.map(({ line }) => line).toSorted((a, b) => a - b),
    );
  });

  test('a missing or unknown key is named', () => {
    const [missing] = faultsOf(source.replace(/^contract: .*\n/m, ''));
    assert.equal(missing!.place, 'contract');
    const [unknown] = faultsOf(source.replace('    ends_typing_of:', '    ends_typing_off:'));
    assert.equal(unknown!.place, 'calls.chat/message');
    assert.match(unknown!.message, /ends_typing_off/);
  });

  test('broken YAML has its line', () => {
    const [fault] = faultsOf('contract: x\nstreams: {a: 1\ncalls: [');
    assert.ok(fault!.line >= 2);
  });

  test('aliases that name nothing, or would fill the memory, are faults and no crash', () => {
    assert.match(messagesOf('contract: *nowhere'), /alias/i);
    const bomb = Array.from(
      { length: 12 },
      (_, i) => `b${i}: &b${i} [${`*${i === 0 ? 'a' : `b${i - 1}`},`.repeat(9)}]`,
    );
    assert.match(messagesOf(['a: &a [x,x,x,x,x,x,x,x,x]', ...bomb].join('\n')), /alias/i);
  });

  test('a call without an event_id, a type that holds itself and a name that JavaScript knows are faults', () => {
    const withoutId = source.replace(
      'body: { event_id: string, request_id: string, message',
      'body: { request_id: string, message',
    );
    assert.match(faultsOf(withoutId)[0]!.message, /event_id/);
    const cyclic = source.replace('    username: string\n', '    username: Sender?\n');
    assert.match(messagesOf(cyclic), /the type holds itself \(Sender > Sender\)/);
    for (const place of ['message: ChatMessage }', 'sender: Sender?']) {
      const inherited = source.replace(place, place.replace(/\w+(?=\W*$)/, 'constructor'));
      assert.match(messagesOf(inherited), /'constructor\??' is not a type/);
    }
  });

  test('a coalesced call that nobody is to get is a call all the same', () => {
    const text = source.replace(
      '- { hub: chat, group: "request:{request_id}", method: TypingIndicator }',
      '- { hub: chat, group: "request:{request_id}", method: TypingIndicator, unless_empty: user_id }',
    );
    assert.notEqual(text, source);
    const typing = loadContract(text, 'x').call('chat/typing')!;
    const event = typing.toEvent(typing.read('{"event_id":"","request_id":"r","user_id":"","is_typing":true}'));
    assert.deepEqual([event.deliveries, event.coalescing], [[], undefined]);
  });

  test('the fingerprint follows the text', () => {
    const fingerprint = (text: string): Contract['fingerprint'] => loadContract(text, 'x').fingerprint;
    assert.equal(fingerprint(source), contract.fingerprint);
    assert.notEqual(fingerprint(source.replace('10000', '10001')), contract.fingerprint);
  });
});

function eventOf(call: Call, body: string): Event {
  return call.toEvent(call.read(body));
}

function contractValues(call: Call, body: string): [string, string][] {
  return [...call.read(body)].toSorted();
}

/** Every field of a body, nested ones too. */
function fieldsOf(fields: Fields, parent: string[] = []): { place: string[]; parent: string[]; field: Field }[] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const place = [...parent, name];
    const inner = typeof field.type === 'object' ? fieldsOf(field.type, place) : [];
    return [{ place, parent, field }, ...inner];
  });
}

/** @param raw what stands at `place`; undefined: the field is missing */
function bodyWith(fields: Fields, [name, ...rest]: string[], raw: string | undefined): string {
  const members = Object.entries(fields).map(([each, field]) => {
    if (each !== name) return `"${each}":${sample(field, each)}`;
    if (rest.length > 0) return `"${each}":${bodyWith(field.type as Fields, rest, raw)}`;
    return raw === undefined ? '' : `"${each}":${raw}`;
  });
  return `{${members.filter((member) => member !== '').join(',')}}`;
}

/** Raw values that a field takes (with what they become) and that it refuses. */
function judged({ type }: Field): { right: [raw: string, written?: string][]; wrong: string[] } {
  const wrongAlways = ['[{}]'];
  switch (type) {
    case 'any':
      return { right: [['"text"'], ['1.50'], ['[ ]', '[]'], ['false'], ['-0.0']], wrong: [] };
    case 'string':
      return { right: [['""'], ['"\\u00e9 \\u0000 \\/"'], ['"7"']], wrong: [...wrongAlways, '5', 'true', '{}', '[]'] };
    case 'bool':
      return { right: [['true'], ['false']], wrong: [...wrongAlways, '"true"', '1', '0', '""', '{}'] };
    case 'int':
      return {
        right: [['7'], ['"7"', '7'], ['-2147483648'], ['2147483647']],
        wrong: [...wrongAlways, '7.5', '7.0', '7e0', '3000000000', '-2147483649', '"x"', '""', '" 7"', 'true', '"7.5"'],
      };
    case 'list':
      return { right: [['[]'], ['["a", null]', '["a",null]']], wrong: [...wrongAlways, '"a"', '[1]', '{}', '[["a"]]'] };
    default:
      return { right: [], wrong: [...wrongAlways, '"x"', '5', '[]', 'true'] };
  }
}

function assertFault(call: Call, body: string, at: string, named = ''): void {
  assert.throws(
    () => call.read(body),
    (error) => {
      assert.ok(error instanceof BodyFault, String(error));
      assert.ok(at in error.errors, `${at} is not in ${JSON.stringify(error.errors)} (${body.slice(0, 200)})`);
      assert.match(error.errors[at]!.join(), new RegExp(named));
      return true;
    },
  );
}

/** As the bridge names a property: `request_id` is `RequestId`. */
function pascal(name: string): string {
  return name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function faultsOf(text: string): ContractError['faults'] {
  try {
    loadContract(text, 'test.yaml');
  } catch (error) {
    if (error instanceof ContractError) return error.faults;
    throw error;
  }
  return assert.fail('the contract was accepted');
}

function messagesOf(text: string): string {
  return faultsOf(text)
    .map(({ message }) => message)
    .join('\n');
}
