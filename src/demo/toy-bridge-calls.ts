// The toy bridge's 16 calls: a body comes in, the hub messages that it causes go out.
// Promises ASP.NET's model binding: names in any case, the last repeat wins, unknown fields dropped, missing optional
// ones filled in, nothing converted but "7" to an integer; a refusal names the field.

import { type Json, JsonError, parseJson, writeMembers } from './toy-bridge-json.ts';

export interface ToyDelivery {
  hub: string;
  group: string;
  method: string;
  /** Raw JSON. */
  argument: string;
}

/** Why a body is refused: field or JSON path -> texts, as in ASP.NET's problem details. */
export class CallRefusal extends Error {
  readonly errors: Record<string, string[]>;

  constructor(errors: Record<string, string[]>) {
    super('One or more validation errors occurred.');
    this.errors = errors;
  }
}

interface ToyCall {
  body: ToyShape;
  deliver(raw: (field: string) => string, text: (field: string) => string): ToyDelivery[];
}

type Kind = 'string' | 'int' | 'bool' | 'any' | 'strings' | ToyShape;
type ToyShape = { [name: string]: ToyField };
interface ToyField {
  kind: Kind;
  /** Raw JSON of a field that is missing; without it the field is required. */
  fallback?: string;
}

const must = (kind: Kind): ToyField => ({ kind });
const may = (kind: Kind, fallback = 'null'): ToyField => ({ kind, fallback });
const text = must('string');

const sender: ToyShape = { id: text, username: text, fullName: may('string'), email: may('string') };
const chatMessage: ToyShape = {
  id: text,
  requestId: text,
  senderId: may('string'),
  sender: may(sender),
  content: text,
  sequenceNumber: may('int', '0'),
  isScreenshot: may('bool', 'false'),
  screenshotFileName: may('string'),
  isRead: may('bool', 'false'),
  createdAt: text,
  updatedAt: may('string'),
  clientTempId: may('string'),
};
const notificationMessage: ToyShape = {
  id: text,
  requestId: text,
  requestTitle: may('string'),
  senderId: may('string'),
  sender: may(sender),
  content: text,
  sequenceNumber: may('int', '0'),
  isScreenshot: may('bool', 'false'),
  screenshotFileName: may('string'),
  createdAt: text,
};
const remoteSession: ToyShape = {
  sessionId: text,
  agentId: text,
  agentName: may('string'),
  requestId: text,
  requestTitle: may('string'),
  mode: may('string', '"view"'),
  autoApproved: may('bool', 'true'),
  isReconnection: may('bool', 'false'),
};

export const uacMessage = '"Waiting for user to complete UAC prompt..."';

const calls: Record<string, ToyCall> = {
  'chat/message': {
    body: { request_id: text, message: must(chatMessage) },
    deliver: (raw, id) => [to('chat', `request:${id('request_id')}`, 'ReceiveMessage', raw('message'))],
  },
  'chat/typing': {
    body: { request_id: text, user_id: text, is_typing: may('bool', 'false') },
    deliver: (raw, id) => [
      to('chat', `request:${id('request_id')}`, 'TypingIndicator', {
        requestId: raw('request_id'),
        userId: raw('user_id'),
        isTyping: raw('is_typing'),
      }),
    ],
  },
  'chat/read-status': {
    body: { request_id: text, user_id: text, message_ids: must('strings') },
    deliver: (raw, id) => [
      to('chat', `request:${id('request_id')}`, 'ReadStatusUpdate', {
        requestId: raw('request_id'),
        userId: raw('user_id'),
        messageIds: raw('message_ids'),
      }),
    ],
  },
  'ticket/update': {
    body: { request_id: text, update: must({ type: text, data: must('any'), requestId: text }) },
    deliver: (raw, id) => [
      to('chat', `request:${id('request_id')}`, 'TicketUpdate', raw('update')),
      to('ticket', `ticket:${id('request_id')}`, 'TicketUpdate', raw('update')),
    ],
  },
  'ticket/task-status': {
    body: { request_id: text, status: text, changed_by: may('string') },
    deliver: (raw, id) => {
      const change = { requestId: raw('request_id'), status: raw('status'), changedBy: raw('changed_by') };
      return [
        to('chat', `request:${id('request_id')}`, 'TaskStatusChanged', change),
        to('ticket', `ticket:${id('request_id')}`, 'TaskStatusChanged', change),
      ];
    },
  },
  'ticket/new': {
    body: { requester_id: text, assigned_to_id: may('string'), ticket: must('any') },
    deliver: (raw, id) =>
      [id('requester_id'), id('assigned_to_id')]
        .filter((user, place) => place === 0 || user)
        .map((user) => to('ticket', `user-tickets:${user}`, 'NewTicket', raw('ticket'))),
  },
  'ticket/system-message': {
    body: { request_id: text, type: text, message: must(chatMessage) },
    deliver: (raw, id) => [to('chat', `request:${id('request_id')}`, 'ReceiveMessage', raw('message'))],
  },
  'notification/new-message': {
    body: { request_id: text, message: must(notificationMessage), sender_id: may('string') },
    deliver: (raw, id) => [
      to('notification', `request-notifications:${id('request_id')}`, 'NewMessageNotification', raw('message')),
    ],
  },
  'notification/send': {
    body: { user_id: text, notification: must('any') },
    deliver: (raw, id) => [to('notification', `notifications:${id('user_id')}`, 'Notification', raw('notification'))],
  },
  'notification/subscription-added': {
    body: { user_id: text, request_id: text },
    deliver: (raw, id) => [
      to('notification', `notifications:${id('user_id')}`, 'SubscriptionAdded', { requestId: raw('request_id') }),
    ],
  },
  'notification/subscription-removed': {
    body: { user_id: text, request_id: text },
    deliver: (raw, id) => [
      to('notification', `notifications:${id('user_id')}`, 'SubscriptionRemoved', { requestId: raw('request_id') }),
    ],
  },
  'remote-access/auto-start': {
    body: { requester_id: text, session: must(remoteSession) },
    deliver: (raw, id) => [
      to('notification', `notifications:${id('requester_id')}`, 'RemoteSessionAutoStart', raw('session')),
      to('chat', `user:${id('requester_id')}`, 'RemoteSessionAutoStart', raw('session')),
    ],
  },
  'remote-access/ended': {
    body: { session_id: text, reason: text, ended_by: may('string') },
    deliver: (raw, id) => [
      to('remote-access', `remote-access:${id('session_id')}`, 'SessionEnded', {
        sessionId: raw('session_id'),
        reason: raw('reason'),
        endedBy: raw('ended_by'),
      }),
    ],
  },
  'remote-access/reconnect': {
    body: { requester_id: text, session: must(remoteSession) },
    deliver: (raw, id) => [
      to('notification', `notifications:${id('requester_id')}`, 'RemoteSessionReconnect', raw('session')),
    ],
  },
  'remote-access/uac-detected': {
    body: { session_id: text, agent_id: text },
    deliver: (raw, id) => [
      to('remote-access', `remote-access:${id('session_id')}`, 'UacDetected', {
        sessionId: raw('session_id'),
        message: uacMessage,
      }),
    ],
  },
  'remote-access/uac-dismissed': {
    body: { session_id: text, agent_id: text },
    deliver: (raw, id) => [
      to('remote-access', `remote-access:${id('session_id')}`, 'UacDismissed', { sessionId: raw('session_id') }),
    ],
  },
};

function to(hub: string, group: string, method: string, argument: string | Record<string, string>): ToyDelivery {
  return {
    hub,
    group,
    method,
    argument: typeof argument === 'string' ? argument : writeMembers(Object.entries(argument)),
  };
}

/** @param path below `/internal/`, in lower case */
export function isCall(path: string): boolean {
  return Object.hasOwn(calls, path);
}

/** @throws CallRefusal */
export function readCall(path: string, bytes: Uint8Array): { eventId: string; deliveries: ToyDelivery[] } {
  const call = calls[path]!;
  const fields = readShaped({ event_id: text, ...call.body }, bytes);
  const raw = (field: string) => fields.get(field)!;
  const string = (field: string) => JSON.parse(raw(field));
  return { eventId: string('event_id'), deliveries: call.deliver(raw, string) };
}

/** ASP.NET's limit for a body, the envelope counted. */
const maxDepth = 32;
const utf8 = new TextDecoder('utf-8', { fatal: true });

function readShaped(shape: ToyShape, bytes: Uint8Array): Map<string, string> {
  const node = parseShaped(shape, bytes);
  const nulls: string[] = [];
  const fields = readObject(shape, node, [], nulls);
  if (nulls.length > 0) throw new CallRefusal(Object.fromEntries(nulls.map((name) => [name, [required(name)]])));
  return fields;
}

function parseShaped(shape: ToyShape, bytes: Uint8Array): Json {
  try {
    const source = utf8.decode(bytes);
    if (/^\s*(null\s*)?$/.test(source)) {
      throw new CallRefusal({ '': ['A non-empty request body is required.'], ...unparsed });
    }
    return parseJson(source, maxDepth);
  } catch (error) {
    if (error instanceof CallRefusal) throw error;
    throw refusalAt(error instanceof JsonError ? typedPart(shape, error.path) : [], `The body is not JSON: ${error}`);
  }
}

/** The binder's parameter stays empty when a body cannot be parsed, and its validation says so. */
const unparsed = { evt: ['The evt field is required.'] };

function refusalAt(path: string[], message: string): CallRefusal {
  return new CallRefusal({ ...unparsed, [['$', ...path].join('.')]: [message] });
}

/** The path down to the field that the bridge has a type for: an (any) value is one field, whatever is in it. */
function typedPart(shape: ToyShape, path: string[]): string[] {
  const [name, ...rest] = path;
  if (name === undefined) return [];
  const field = findField(shape, name)?.[1];
  return [name, ...(typeof field?.kind === 'object' ? typedPart(field.kind, rest) : [])];
}

function findField(shape: ToyShape, name: string): [string, ToyField] | undefined {
  return Object.entries(shape).find(([known]) => known.toLowerCase() === name.toLowerCase());
}

function readObject(shape: ToyShape, node: Json, path: string[], nulls: string[]): Map<string, string> {
  if (node.kind !== 'object') throw refuseType('object', path);
  const found = new Map<string, string>();
  for (const [name, value] of node.members) {
    const [known, field] = findField(shape, name) ?? [];
    if (known && field) found.set(known, readField(field, value, [...path, known], nulls));
  }
  const missing = Object.keys(shape).filter((name) => !found.has(name) && shape[name]?.fallback === undefined);
  if (missing.length > 0) {
    const names = missing.map((name) => `'${name}'`).join(', ');
    throw refusalAt(path, `The JSON was missing required properties including: ${names}.`);
  }
  return new Map(Object.entries(shape).map(([name, field]) => [name, found.get(name) ?? field.fallback!]));
}

function readField(field: ToyField, node: Json, path: string[], nulls: string[]): string {
  const { kind } = field;
  if (node.kind === 'null' && kind !== 'int' && kind !== 'bool') {
    if (field.fallback !== 'null') nulls.push(path.map(pascalCase).join('.'));
    return 'null';
  }
  if (typeof kind === 'object') return writeMembers(readObject(kind, node, path, nulls));
  const raw = convert(kind, node);
  if (raw === undefined) throw refuseType(kind, path);
  return raw;
}

/** The node's raw text as this kind; undefined where the bridge would not take it. */
export function convert(kind: 'string' | 'int' | 'bool' | 'any' | 'strings', node: Json): string | undefined {
  switch (kind) {
    case 'any':
      return node.raw;
    case 'strings':
      return node.items.every((item) => item.kind === 'string' || item.kind === 'null') && node.kind === 'array'
        ? node.raw
        : undefined;
    case 'int': {
      const digits = node.kind === 'string' ? node.text : node.raw;
      const fits = /^[+-]?\d+$/.test(digits) && Number(digits) === (Number(digits) | 0);
      return fits && (node.kind === 'string' || node.kind === 'number') ? String(Number(digits) | 0) : undefined;
    }
    default:
      return node.kind === kind ? node.raw : undefined;
  }
}

function refuseType(type: string, path: string[]): CallRefusal {
  return refusalAt(path, `The JSON value could not be converted to ${type}.`);
}

function required(name: string): string {
  return `The ${name.split('.').at(-1)} field is required.`;
}

/** Validation speaks of the bridge's own properties: `request_id` is `RequestId`. */
function pascalCase(name: string): string {
  return name.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
}
