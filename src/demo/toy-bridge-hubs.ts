// The toy bridge's four hubs: members and their groups, what happens on connect and on disconnect, and every method.
// In come a member's invocations with raw JSON arguments; hub messages go out to the caller, to others or to a group.

import { convert, type ToyDelivery, uacMessage } from './toy-bridge-calls.ts';
import { type Json, writeMembers } from './toy-bridge-json.ts';

/** A connection as its hub sees it. */
export interface ToyMember {
  readonly user: string;
  /** The desktop session that its URL names. */
  readonly session: string | undefined;
  send(record: string): void;
}

/** `id` and `ids` must not be empty, else the method does nothing; `string` may be null. */
type Parameter = 'id' | 'ids' | 'string' | 'bool' | 'any';
type Run = (hub: ToyHub, me: ToyMember, ...args: string[]) => void;
interface Method {
  parameters: Parameter[];
  run: Run;
}
interface HubSpec {
  connect?: (hub: ToyHub, me: ToyMember) => void;
  methods: Record<string, Method>;
}

const method = (parameters: Parameter[], run: Run): Method => ({ parameters, run });
const text = (raw: string): string => JSON.parse(raw);
const quote = (value: string): string => JSON.stringify(value);

/** A method that sends one message to the others in the session, such as `SdpOffer`. */
const signal = (type: string) => method(['id', 'any'], (hub, me, id, x) => sendSignal(hub, me, id!, quote(type), x!));
const toOthers = (name: string, fields: Record<string, string> = {}) =>
  method(['id'], (hub, me, id) => hub.toOthers(me, `remote-access:${text(id!)}`, name, { sessionId: id!, ...fields }));

function sendSignal(hub: ToyHub, me: ToyMember, id: string, type: string, payload: string): void {
  const message = { sessionId: id, payload, fromUserId: quote(me.user) };
  hub.toOthers(me, `remote-access:${text(id)}`, text(type), message);
}

const specs: Record<string, HubSpec> = {
  chat: {
    connect: (hub, me) => hub.join(me, `user:${me.user}`),
    methods: {
      JoinRoom: method(['id'], (hub, me, id) => {
        hub.join(me, `request:${text(id!)}`);
        hub.toCaller(me, 'RoomJoined', id!);
      }),
      LeaveRoom: method(['id'], (hub, me, id) => {
        hub.leave(me, `request:${text(id!)}`);
        hub.toCaller(me, 'RoomLeft', id!);
      }),
      SendTyping: method(['id', 'bool'], (hub, me, id, isTyping) => {
        const message = { requestId: id!, userId: quote(me.user), isTyping: isTyping! };
        hub.toOthers(me, `request:${text(id!)}`, 'TypingIndicator', message);
      }),
      MarkRead: method(['id', 'ids'], (hub, me, id, messageIds) => {
        const message = { requestId: id!, userId: quote(me.user), messageIds: messageIds! };
        hub.toOthers(me, `request:${text(id!)}`, 'ReadStatusUpdate', message);
      }),
    },
  },
  ticket: {
    methods: {
      SubscribeToTicket: method(['id'], (hub, me, id) => {
        hub.join(me, `ticket:${text(id!)}`);
        hub.toCaller(me, 'TicketSubscribed', id!);
      }),
      UnsubscribeFromTicket: method(['id'], (hub, me, id) => {
        hub.leave(me, `ticket:${text(id!)}`);
        hub.toCaller(me, 'TicketUnsubscribed', id!);
      }),
      SubscribeToUserTickets: method([], (hub, me) => {
        hub.join(me, `user-tickets:${me.user}`);
        hub.toCaller(me, 'UserTicketsSubscribed');
      }),
      UnsubscribeFromUserTickets: method([], (hub, me) => {
        hub.leave(me, `user-tickets:${me.user}`);
        hub.toCaller(me, 'UserTicketsUnsubscribed');
      }),
    },
  },
  notification: {
    connect: (hub, me) => {
      hub.join(me, `notifications:${me.user}`);
      hub.toCaller(me, 'Connected', writeMembers([['userId', quote(me.user)]]));
    },
    methods: {
      SetActiveChat: method(['string'], (hub, me, id) => hub.toCaller(me, 'ActiveChatSet', id!)),
      RefreshSubscriptions: method([], (hub, me) => hub.toCaller(me, 'SubscriptionsRefreshed')),
    },
  },
  'remote-access': {
    methods: {
      JoinSession: method(['id', 'string'], (hub, me, id, participantType) => {
        const group = `remote-access:${text(id!)}`;
        const joined = { sessionId: id!, participantType: participantType! };
        hub.join(me, group, { sessionId: id!, userId: quote(me.user) });
        hub.toCaller(me, 'SessionJoined', writeMembers(Object.entries(joined)));
        hub.toOthers(me, group, 'ParticipantJoined', { ...joined, userId: quote(me.user) });
      }),
      LeaveSession: method(['id'], (hub, me, id) => {
        const group = `remote-access:${text(id!)}`;
        hub.toOthers(me, group, 'ParticipantLeft', { sessionId: id!, userId: quote(me.user) });
        hub.leave(me, group);
        hub.toCaller(me, 'SessionLeft', id!);
      }),
      SendSignal: method(['id', 'id', 'any'], (hub, me, id, type, x) => sendSignal(hub, me, id!, type!, x!)),
      SendSdpOffer: signal('SdpOffer'),
      SendSdpAnswer: signal('SdpAnswer'),
      SendIceCandidate: signal('IceCandidate'),
      EnableControl: toOthers('ControlEnabled'),
      DisableControl: toOthers('ControlDisabled'),
      NotifyUacDetected: toOthers('UacDetected', { message: uacMessage }),
      NotifyUacDismissed: toOthers('UacDismissed'),
    },
  },
};

/** One invocation of a method that exists, with arguments that fit. */
export interface ToyInvocation {
  hub: string;
  user: string;
  method: string;
  args: unknown[];
}

/** What tests may put in a client's way: asked each time, undefined lets it through. */
export interface HubHooks {
  /** Before a method runs. `throw`: it fails as by an exception of its own. `skip`: it completes and has done nothing. */
  onInvoke: ((invocation: ToyInvocation) => 'throw' | 'skip' | undefined) | undefined;
  /** After the handshake of a connection that has a user. `abort`: it ends before it has joined anything. */
  onConnect: ((hub: string, user: string) => 'abort' | undefined) | undefined;
  /** A connection has begun, or ended: what the bridge's presence keys in Redis depend on. */
  onPresence: ((member: ToyMember, isThere: boolean) => void) | undefined;
}

export function createHubs(hooks: HubHooks): Map<string, ToyHub> {
  return new Map(Object.entries(specs).map(([name, spec]) => [name, new ToyHub(name, spec, hooks)]));
}

/** What the others of a group get when a member's connection ends. */
type Farewell = Record<string, string> | undefined;

export class ToyHub {
  readonly #name: string;
  readonly #spec: HubSpec;
  readonly #hooks: HubHooks;
  readonly #memberships = new Map<ToyMember, Map<string, Farewell>>();
  readonly #groups = new Map<string, Set<ToyMember>>();

  constructor(name: string, spec: HubSpec, hooks: HubHooks) {
    this.#name = name;
    this.#spec = spec;
    this.#hooks = hooks;
  }

  get members(): ToyMember[] {
    return [...this.#memberships.keys()];
  }

  /** How many rooms of requests have members. */
  get roomCount(): number {
    return [...this.#groups.keys()].filter((group) => group.startsWith('request:')).length;
  }

  refuses(me: ToyMember): boolean {
    return me.user === '' || this.#hooks.onConnect?.(this.#name, me.user) === 'abort';
  }

  connect(me: ToyMember): void {
    this.#memberships.set(me, new Map());
    this.#hooks.onPresence?.(me, true);
    this.#spec.connect?.(this, me);
  }

  disconnect(me: ToyMember): void {
    for (const [group, farewell] of this.#memberships.get(me) ?? []) {
      if (farewell) this.toOthers(me, group, 'ParticipantLeft', farewell);
      this.leave(me, group);
    }
    if (this.#memberships.delete(me)) this.#hooks.onPresence?.(me, false);
  }

  /** @returns the error of the completion, or undefined where the method ran (or had nothing to do) */
  invoke(me: ToyMember, target: string, args: Json[]): string | undefined {
    const name = Object.keys(this.#spec.methods).find((known) => known.toLowerCase() === target.toLowerCase());
    if (name === undefined) return `${failed(target)} HubException: Method does not exist.`;
    const { parameters, run } = this.#spec.methods[name]!;
    const raws = parameters.map((parameter, place) => bind(parameter, args[place]));
    if (args.length !== parameters.length || raws.includes(undefined)) return failed(name);
    const verdict = this.#hooks.onInvoke?.({
      hub: this.#name,
      user: me.user,
      method: name,
      args: raws.map((raw) => JSON.parse(raw!)),
    });
    if (verdict === 'throw') return `An unexpected error occurred invoking '${name}' on the server.`;
    if (verdict === 'skip') return undefined;
    const isEmpty = parameters.some((parameter, place) => parameter.startsWith('id') && isNothing(raws[place]!));
    if (!isEmpty) run(this, me, ...(raws as string[]));
    return undefined;
  }

  join(me: ToyMember, group: string, farewell?: Farewell): void {
    this.#memberships.get(me)?.set(group, farewell);
    const members = this.#groups.get(group) ?? new Set();
    this.#groups.set(group, members.add(me));
  }

  leave(me: ToyMember, group: string): void {
    this.#memberships.get(me)?.delete(group);
    const members = this.#groups.get(group);
    members?.delete(me);
    if (members?.size === 0) this.#groups.delete(group);
  }

  deliver({ group, method: target, argument }: ToyDelivery): void {
    const record = toyInvocation(target, [argument]);
    for (const member of this.#groups.get(group) ?? []) member.send(record);
  }

  toCaller(me: ToyMember, target: string, ...args: string[]): void {
    me.send(toyInvocation(target, args));
  }

  toOthers(me: ToyMember, group: string, target: string, message: Record<string, string>): void {
    const record = toyInvocation(target, [writeMembers(Object.entries(message))]);
    for (const member of this.#groups.get(group) ?? []) if (member !== me) member.send(record);
  }
}

function toyInvocation(target: string, args: string[]): string {
  return `{"type":1,"target":${quote(target)},"arguments":[${args.join(',')}]}`;
}

function failed(target: string): string {
  return `Failed to invoke '${target}' due to an error on the server.`;
}

function bind(parameter: Parameter, node: Json | undefined): string | undefined {
  if (node?.kind === 'null' && parameter !== 'bool') return 'null';
  if (node === undefined) return undefined;
  if (parameter === 'ids') return convert('strings', node);
  return convert(parameter === 'id' ? 'string' : parameter, node);
}

function isNothing(raw: string): boolean {
  return raw === 'null' || raw === '""' || raw === '[]';
}
