// One client of one hub that keeps what it is shown: it joins its rooms, joins them again whenever its connection was
// lost, and notes for each stay in a room when it asked, was confirmed, and ended, and every hub message in between.

import type { Link, Listener } from './link.ts';
import type { Stay } from './owed.ts';
import { readMessage } from './seen.ts';

export interface ReaderSpec {
  name: string;
  user: string;
  hub: 'chat' | 'ticket' | 'notification';
  /** Joined by the hub's method for it. */
  rooms: string[];
  /** Stops reading once it has joined. */
  isStalled: boolean;
}

const joinMethods = { chat: 'JoinRoom', ticket: 'SubscribeToTicket', notification: undefined };
/** What the hub says to a member that has joined: its argument is the room, or names the user. */
const confirmations = ['RoomJoined', 'TicketSubscribed', 'Connected'];

export class Reader {
  readonly spec: ReaderSpec;
  readonly #link: Link;
  readonly #stays: Stay[] = [];
  /** Of the present connection, by room. */
  #current = new Map<string, Stay>();
  /** When the present connection was begun, at the earliest. */
  #begunAt = 0;
  /** How often a connection of this reader was lost. */
  lostCount = 0;

  constructor(spec: ReaderSpec, makeLink: (listener: Listener) => Link) {
    this.spec = spec;
    this.#link = makeLink({
      message: (method, args) => this.#note(method, args[0]),
      ended: () => this.#onEnd(),
      back: () => this.#joinAll().catch(() => {}),
    });
  }

  get stays(): readonly Stay[] {
    return this.#stays;
  }

  /** Whether it is connected and a member of all its rooms. */
  get isBack(): boolean {
    const joined = [...this.#current.values()].filter(({ confirmedAt }) => confirmedAt < Number.POSITIVE_INFINITY);
    return joined.length === this.#ownRooms().length;
  }

  /** Connects and joins. */
  async start(): Promise<void> {
    this.#begunAt = performance.now();
    this.#open(this.#connectRooms());
    await this.#link.start();
    await this.#joinAll();
    if (this.spec.isStalled) this.#link.stall();
  }

  stop(): Promise<void> {
    return this.#link.stop();
  }

  /** The user's own room is joined by connecting, to all but the ticket hub. */
  #connectRooms(): string[] {
    return this.spec.hub === 'ticket' ? [] : [this.spec.user];
  }

  #ownRooms(): string[] {
    return [...this.#connectRooms(), ...this.spec.rooms];
  }

  async #joinAll(): Promise<void> {
    const { hub, rooms } = this.spec;
    const method = joinMethods[hub];
    if (method === undefined) return;
    this.#open(rooms);
    const present = this.#current;
    await Promise.all(rooms.map((room) => this.#link.invoke(method, room)));
    // A completion proves that the connect is over, and with it the joining of the user's own room.
    if (hub === 'chat' && present === this.#current) this.#confirm(this.spec.user);
  }

  #open(rooms: string[]): void {
    const { name: client, hub } = this.spec;
    for (const room of rooms) {
      const askedAt = this.#connectRooms().includes(room) ? this.#begunAt : performance.now();
      const unknown = Number.POSITIVE_INFINITY;
      const stay = { client, hub, room, askedAt, confirmedAt: unknown, endedAt: unknown, seen: [] };
      this.#stays.push(stay);
      this.#current.set(room, stay);
    }
  }

  #confirm(room: string): void {
    const stay = this.#current.get(room);
    if (stay?.confirmedAt === Number.POSITIVE_INFINITY) stay.confirmedAt = performance.now();
  }

  #note(method: string, argument: unknown): void {
    if (confirmations.includes(method))
      return this.#confirm(method === 'Connected' ? this.spec.user : String(argument));
    const message = readMessage(method, argument, this.spec.user, performance.now());
    if (message === undefined) return;
    const stay = this.#current.get(message.room) ?? this.#strange(message.room);
    stay.seen.push(message.seen);
  }

  /** A stay in a room that it never asked for, so that whatever it sees there is foreign. */
  #strange(room: string): Stay {
    const { name: client, hub } = this.spec;
    const never = Number.POSITIVE_INFINITY;
    const stay = { client, hub, room, askedAt: never, confirmedAt: never, endedAt: never, seen: [] };
    this.#stays.push(stay);
    return stay;
  }

  #onEnd(): void {
    const now = performance.now();
    this.lostCount++;
    for (const stay of this.#current.values()) stay.endedAt = now;
    this.#current = new Map();
    this.#begunAt = now;
    this.#open(this.#connectRooms());
  }
}

/** The hub messages that a reader listens to, beside those that calls cause. */
export const readerMethods = confirmations;
