// What the consumer asks of the edge: to show messages to the members of their groups, in order.

import type { Delivery } from '../contract/event.ts';
import type { Prepared } from './prepared.ts';

export interface OutgoingMessage {
  /** Order is kept per room and connection. */
  room: string;
  /** The deliveries' one argument as raw JSON. */
  payload: string;
  deliveries: Delivery[];
  /** Empty where the entry's publisher gave none. */
  eventId: string;
}

export interface Audience {
  /** Resolves when each member's connection has the message: in its socket, or waits there for a fence. Never rejects. */
  deliver(messages: OutgoingMessage[]): Promise<void>;
  /** How many connections of this replica are in these groups now; one that is in two counts twice. */
  countMembers(deliveries: Delivery[]): number;
}

/** One connection as the fan-out sees it; where it ends (here or at the bridge) is not its business. */
export interface Member {
  /** The SignalR connection id. */
  readonly id: string;
  /**
   * Takes the form of the messages that it needs; a member that is gone or too slow drops them.
   * @param group the one that they are for, of the member's hub
   */
  write(prepared: Prepared, group: string): void;
  /** Cuts it off without a word; the client comes back if it reconnects at all. @param reason for the metric */
  terminate(reason: string): void;
}
