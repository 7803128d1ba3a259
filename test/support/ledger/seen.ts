// What a client makes of a hub message: in come hub, method, argument and the client's user, out goes which room it
// belongs to and the label that the plan gave it.

import type { Receipt, Typing } from './plan.ts';

/** One hub message that a client was shown. */
export interface Seen {
  /** Method and mark, as in the plan: `ReceiveMessage n12`. */
  label: string;
  /** ms of performance.now() */
  at: number;
  typing?: Typing;
  receipt?: Receipt;
}

/** The methods that a plan's calls cause. */
export const methods = [
  'ReceiveMessage',
  'TicketUpdate',
  'TaskStatusChanged',
  'TypingIndicator',
  'ReadStatusUpdate',
  'Notification',
  'SubscriptionAdded',
  'RemoteSessionAutoStart',
];

/** @returns undefined for a hub message that no call causes, such as `RoomJoined` */
export function readMessage(
  method: string,
  argument: unknown,
  user: string,
  at: number,
): { room: string; seen: Seen } | undefined {
  const room = String(field(argument, 'requestId'));
  const labelled = (of: string, mark: unknown) => ({ room: of, seen: { label: `${method} ${mark}`, at } });
  switch (method) {
    case 'ReceiveMessage':
      return labelled(room, String(field(argument, 'content')).split(' ')[0]);
    case 'TicketUpdate':
      return labelled(room, field(argument, 'data'));
    case 'TaskStatusChanged':
      return labelled(room, field(argument, 'status'));
    case 'TypingIndicator': {
      const typing = { user: String(field(argument, 'userId')), isTyping: field(argument, 'isTyping') === true };
      return { room, seen: { label: `${method} ${typing.user} ${typing.isTyping}`, at, typing } };
    }
    case 'ReadStatusUpdate': {
      const receipt = { user: String(field(argument, 'userId')), ids: field(argument, 'messageIds') as string[] };
      return { room, seen: { label: `${method} ${receipt.user} ${receipt.ids}`, at, receipt } };
    }
    case 'Notification':
      return labelled(user, argument);
    case 'SubscriptionAdded':
      return labelled(user, room);
    case 'RemoteSessionAutoStart':
      return labelled(user, field(argument, 'sessionId'));
    default:
      return undefined;
  }
}

function field(argument: unknown, name: string): unknown {
  return (argument as Record<string, unknown>)[name];
}
