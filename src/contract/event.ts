// The event: what comes of a call or a hub method, and goes to the lanes, before it is kept anywhere; with its deliveries, and how it
// may be coalesced.

/**
 * One hub message that an event causes. `except` is the connection id that must not get it (a hub method's caller). `to`: only the members
 * whose connections end at crossfade, as the bridge itself has shown it to the others.
 */
export interface Delivery {
  hub: string;
  group: string;
  method: string;
  except?: string;
  to?: 'native';
}

/** How events of one kind, room and user are merged within one coalescing window: the latest stands for all of them. */
export interface Coalescing {
  /** Windows are kept apart by this: the kind and the user; the room is the event's. */
  key: string;
  /** Set for typing: the user whose note this is. */
  typingOf?: string;
  /** Set where a list of the events is united (read receipts). */
  union?: Union;
}

/** Characters of a list that is united, and of the lists of one window; an event with a longer one goes by itself. */
export const maxUnitedChars = 64 * 1024;

export interface Union {
  /** This event's list: raw JSON texts. */
  items: string[];
  /** The payload of this event with another list. */
  payloadOf(items: Iterable<string>): string;
}

/** What a call or a hub method becomes. */
export interface Event {
  /** Ids to remember against repeats: one, or several where calls were coalesced. Empty strings are never among them. */
  eventIds: string[];
  eventType: string;
  /** The stream it belongs to, such as `events:chat`. */
  stream: string;
  /** Upper bound of the stream in entries (`MAXLEN ~`). */
  maxLength: number;
  room: string;
  /** The deliveries' one argument as raw JSON text. */
  payload: string;
  deliveries: Delivery[];
  /** The user whose earlier typing notes must not be shown after this event. */
  endsTypingOf?: string;
  /** Set where the event may wait in a window. */
  coalescing?: Coalescing;
  /** How many calls this event stands for; absent for one. */
  coalescedCount?: number;
}
