// The ledger's calls: in go rooms and how many calls are wanted, out come each room's calls in their order, with what
// each of them shows on which hub. Promises that about half of what a room shows of a kind is literally the same, so
// that a client cannot tell one from the other; the rest carries its number. The same plan every time.

import { randomFrom } from './random.ts';

/** One call that the backend is to make. */
export interface PlannedCall {
  eventId: string;
  room: string;
  /** Below `/internal/`. */
  path: string;
  body: object;
  /** What a member sees of it. */
  shows: { hub: string; label: string }[];
  /** Typing and read receipts are coalesced on the stream lane, and judged by other rules than the rest. */
  typing?: Typing;
  receipt?: Receipt;
  /** The user whose typing ends with this message. */
  endsTypingOf?: string;
}

export interface Typing {
  user: string;
  isTyping: boolean;
}

export interface Receipt {
  user: string;
  ids: string[];
}

export interface Rooms {
  /** Tickets' rooms: request ids. */
  requests: string[];
  /** Users' own rooms: user ids. */
  users: string[];
}

/** A user's room is less busy than a ticket's by this factor. */
const userRoomShare = 0.25;
const seed = 4;
/** Makes a record as long as a real one, so that a reader who has stopped really falls behind. */
const filler = '.'.repeat(1_500);
const createdAt = '2026-01-16T10:30:00Z';

/** @returns room -> its calls, each to be made after the one before was answered */
export function planCalls({ requests, users }: Rooms, callCount: number): Map<string, PlannedCall[]> {
  const perRequest = Math.floor(callCount / (requests.length + userRoomShare * users.length));
  const perUser = Math.floor(perRequest * userRoomShare);
  const rest = callCount - perRequest * requests.length - perUser * users.length;
  const random = randomFrom(seed);
  return new Map([
    ...requests.map((room, i) => planned(room, perRequest + (i === 0 ? rest : 0), new RequestRoom(room, random))),
    ...users.map((room) => planned(room, perUser, new UserRoom(room, random))),
  ]);
}

interface RoomPlan {
  /** The room's next call, without its id. */
  next(number: number): Omit<PlannedCall, 'eventId' | 'room'>;
}

function planned(room: string, count: number, plan: RoomPlan): [string, PlannedCall[]] {
  const calls = Array.from({ length: count }, (_, i) => {
    const eventId = `${room}-${i}`;
    const { body, ...call } = plan.next(i);
    return { eventId, room, ...call, body: { event_id: eventId, ...body } };
  });
  return [room, calls];
}

class RequestRoom implements RoomPlan {
  readonly #room: string;
  readonly #random: () => number;
  #typists = 0;
  #typing: Typing | undefined;

  constructor(room: string, random: () => number) {
    this.#room = room;
    this.#random = random;
  }

  next(number: number) {
    const kind = this.#random();
    const mark = this.#random() < 0.55 ? 'same' : `n${number}`;
    if (kind < 0.7) return this.#message(mark, 'chat/message');
    if (kind < 0.74) return this.#message(mark, 'ticket/system-message');
    if (kind < 0.81) return this.#update(mark);
    if (kind < 0.88) return this.#taskStatus(mark);
    if (kind < 0.94) return this.#type();
    return this.#read(number);
  }

  /** A numbered message is sometimes the one that the room's typist was typing; that user never types again. */
  #message(mark: string, path: string) {
    const typist = path === 'chat/message' && mark !== 'same' && this.#random() < 0.5 ? this.#typing?.user : undefined;
    if (typist !== undefined) this.#typing = undefined;
    const content = `${mark} ${filler}`;
    const message = { id: mark, requestId: this.#room, content, createdAt, ...(typist && { senderId: typist }) };
    const type = path === 'ticket/system-message' ? { type: 'status' } : {};
    return {
      path,
      body: { request_id: this.#room, ...type, message },
      shows: [{ hub: 'chat', label: `ReceiveMessage ${mark}` }],
      ...(typist !== undefined && { endsTypingOf: typist }),
    };
  }

  #update(mark: string) {
    const update = { type: 'assigned', data: mark, requestId: this.#room };
    return {
      path: 'ticket/update',
      body: { request_id: this.#room, update },
      shows: ['chat', 'ticket'].map((hub) => ({ hub, label: `TicketUpdate ${mark}` })),
    };
  }

  #taskStatus(mark: string) {
    return {
      path: 'ticket/task-status',
      body: { request_id: this.#room, status: mark },
      shows: ['chat', 'ticket'].map((hub) => ({ hub, label: `TaskStatusChanged ${mark}` })),
    };
  }

  /** The typist goes on (stops, starts again), or stays as it is for ever and another one begins. */
  #type() {
    if (this.#typing === undefined || this.#random() < 0.3) {
      this.#typing = { user: `typist-${this.#typists++}`, isTyping: true };
    } else {
      this.#typing = { ...this.#typing, isTyping: !this.#typing.isTyping };
    }
    const { user, isTyping } = this.#typing;
    return {
      path: 'chat/typing',
      body: { request_id: this.#room, user_id: user, is_typing: isTyping },
      shows: [],
      typing: this.#typing,
    };
  }

  #read(number: number) {
    const receipt = { user: `reader-${number % 3}`, ids: [`m${number}`, `m${number}b`] };
    return {
      path: 'chat/read-status',
      body: { request_id: this.#room, user_id: receipt.user, message_ids: receipt.ids },
      shows: [],
      receipt,
    };
  }
}

class UserRoom implements RoomPlan {
  readonly #user: string;
  readonly #random: () => number;

  constructor(user: string, random: () => number) {
    this.#user = user;
    this.#random = random;
  }

  next(number: number) {
    const kind = this.#random();
    const mark = this.#random() < 0.5 ? 'same' : `n${number}`;
    if (kind < 0.7) return this.#notify(mark);
    if (kind < 0.85) return this.#subscribe(mark);
    return this.#startSession(mark);
  }

  #notify(mark: string) {
    return {
      path: 'notification/send',
      body: { user_id: this.#user, notification: mark },
      shows: [{ hub: 'notification', label: `Notification ${mark}` }],
    };
  }

  #subscribe(mark: string) {
    return {
      path: 'notification/subscription-added',
      body: { user_id: this.#user, request_id: mark },
      shows: [{ hub: 'notification', label: `SubscriptionAdded ${mark}` }],
    };
  }

  #startSession(mark: string) {
    return {
      path: 'remote-access/auto-start',
      body: { requester_id: this.#user, session: { sessionId: mark, agentId: 'agent', requestId: 'any' } },
      shows: ['notification', 'chat'].map((hub) => ({ hub, label: `RemoteSessionAutoStart ${mark}` })),
    };
  }
}
