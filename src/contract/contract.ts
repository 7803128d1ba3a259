// The compiled contract: what ingress, edge and consumer ask. Built by load.ts from one declarative YAML file;
// nothing else that serves knows a call, a hub or a method by name (the demo and the load generator do).

import type { Event } from './event.ts';

/** Named raw JSON texts: a call's fields or a hub method's arguments, nested fields as `message.senderId`. */
export type Values = Map<string, string>;

export interface Contract {
  name: string;
  /** Changes whenever the contract's meaning may have: a hash of its text, hex. */
  fingerprint: string;
  streams: Map<string, StreamSpec>;
  /** Every event type that a call may become. */
  eventTypes: string[];
  /** Every event type, of calls and hubs, that is coalesced. */
  coalescedTypes: string[];
  /** @param path below `/internal/`, in any case, with or without a trailing slash */
  call(path: string): Call | undefined;
  calls: Call[];
  /** @param name the hub's name in any case */
  hub(name: string): Hub | undefined;
  hubs: Hub[];
  /** How an entry without deliveries of its own (another publisher wrote it) is delivered; by its `event_type`. */
  foreign(eventType: string): Foreign | undefined;
  /** The room whose events go to this group; undefined where that cannot be told from its name. */
  roomOf(hub: string, group: string): string | undefined;
  /** Where hub messages of this name come from; undefined: the contract knows none. */
  shown(hub: string, method: string): ShownBy | undefined;
}

/** Where hub messages of one name come from; neither: the hub itself tells its caller. */
export interface ShownBy {
  byCalls: boolean;
  /** What clients send to each other. */
  byClients: boolean;
  /** Whether a call sends such messages to this group. */
  goesTo(group: string): boolean;
  /** Paths in the argument, such as `message.updatedat`, in lower case, that do not count where messages are compared. */
  ignore: Set<string>;
  /** Paths of lists of which the order does not count. */
  unordered: Set<string>;
}

export interface StreamSpec {
  name: string;
  maxLength: number;
}

export interface Call {
  /** Such as `chat/message`. */
  path: string;
  /** Reads a body strictly as the bridge does. Throws BodyFault. */
  read(body: string): Values;
  /** The event that the call becomes. */
  toEvent(values: Values): Event;
}

export interface Foreign {
  /** @throws BodyFault if the payload does not fit */
  toEvent(room: string, payload: string): Pick<Event, 'payload' | 'deliveries'>;
}

export interface Hub {
  name: string;
  /** What happens on connect; the only value is `sub`. */
  connect: Effect[];
  /** @param name the method's name in any case */
  method(name: string): HubMethod | undefined;
  methods: HubMethod[];
}

export interface HubMethod {
  /** In its declared spelling, which the error texts show. */
  name: string;
  /**
   * @param args the invocation's arguments as raw JSON texts
   * @returns the named arguments, or undefined where count or types do not fit
   */
  bind(args: string[]): Values | undefined;
  /** Whether an empty or missing argument makes the method return without doing anything. */
  ignores(values: Values): boolean;
  /** The characters of the longest argument that becomes part of a name: of a group, a room or a client's method. */
  longestName(values: Values): number;
  /** In order; values also hold `sub`, the caller's user. */
  effects: Effect[];
}

export type Effect = JoinEffect | LeaveEffect | CallerEffect | OthersEffect;

export interface JoinEffect {
  kind: 'join';
  group(values: Values): string;
  /** Whether the group counts under `rooms` of `/internal/stats`. */
  countsAsRoom: boolean;
  /** What the others in the group get when the connection ends while it is a member. */
  farewell?: OthersEffect;
}

export interface LeaveEffect {
  kind: 'leave';
  group(values: Values): string;
}

/** A hub message to the caller alone. */
export interface CallerEffect {
  kind: 'caller';
  method: string;
  /** The message's arguments as raw JSON texts: none or one. */
  arguments(values: Values): string[];
}

/** A hub message to everyone else in a group, over all replicas; hence an event of the log. */
export interface OthersEffect {
  kind: 'others';
  /** Whether it is a typing note: the latest one counts, and none after its sender's message. */
  isTyping: boolean;
  /** @param connectionId the caller's, which gets nothing */
  toEvent(values: Values, connectionId: string): Event;
}

/** Why a body is refused, in the bridge's own shape: field (or JSON path) -> texts. */
export class BodyFault extends Error {
  readonly errors: Record<string, string[]>;

  constructor(errors: Record<string, string[]>) {
    super(
      Object.entries(errors)
        .map(([field, texts]) => `${field}: ${texts.join(' ')}`)
        .join('; '),
    );
    this.name = 'BodyFault';
    this.errors = errors;
  }
}
