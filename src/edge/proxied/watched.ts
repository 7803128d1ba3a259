// What the bridge sends, for who compares it with what the log holds: in come its messages as they pass by, out goes nothing; the
// connection and its client notice nothing of it.

import type { Hub } from '../../contract/contract.ts';
import { NumberText, parseExact } from '../../contract/exact.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import { codecs, cutRecords } from './codec.ts';

export interface BridgeWatch {
  /** Called for each message of the bridge on an open connection, before it goes on. What takes time in it is for later. */
  saw(connection: Watched, message: Buffer): void;
}

/** A connection that is open, or was. */
export interface Watched {
  readonly hub: Pick<Hub, 'name'>;
  readonly isOpen: boolean;
  readonly protocol: HubProtocolName;
  /** The groups that it is in. */
  readonly groupNames: Iterable<string>;
  /** When it last joined or left one, ms monotonic. */
  readonly groupsChangedAt: number;
  /** ms, monotonic; undefined: it is no member. */
  memberSince(group: string): number | undefined;
  /**
   * The hub messages in what {@link BridgeWatch.saw} was given.
   * @returns undefined where it cannot be understood
   */
  messagesIn(message: Buffer): SeenMessage[] | undefined;
  /** Resolves when the bridge has answered behind everything that it had sent before, or when the connection has ended. */
  fence(): Promise<void>;
}

/** A hub message. */
export interface SeenMessage {
  target: string;
  /** Parsed; of JSON, each number is its text (exact.ts), which MessagePack does not have. */
  args: unknown[];
}

/** A group of a hub, and who is in it. */
export interface WatchedGroup {
  hub: string;
  group: string;
  members: Iterable<Watched>;
}

/** See {@link Watched.messagesIn}. */
export function readSeen(message: Buffer, protocol: HubProtocolName): SeenMessage[] | undefined {
  const records = cutRecords(codecs[protocol], message);
  try {
    return records?.flatMap((record) => (protocol === 'json' ? readExact(record) : readPacked(record)));
  } catch {
    return undefined;
  }
}

function readExact(record: Buffer): SeenMessage[] {
  const message = parseExact(record.toString('utf8', 0, record.length - 1)) as Partial<
    Record<'type' | 'target' | 'arguments', unknown>
  > | null;
  const { type, target, arguments: args } = message ?? {};
  if (!(type instanceof NumberText) || type.text !== '1') return [];
  return typeof target === 'string' && Array.isArray(args) ? [{ target, args }] : [];
}

function readPacked(record: Buffer): SeenMessage[] {
  const read = codecs.messagepack.readRecord(record);
  if (read === undefined) throw new TypeError('a record is not understood');
  return read.type === 1 && read.target !== undefined ? [{ target: read.target, args: read.args }] : [];
}
