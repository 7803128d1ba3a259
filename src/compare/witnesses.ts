// The connections that a compare looks at, and what the bridge shows them: in come the groups and the bridge's messages as they pass by,
// out go these messages, read. Promises: of each group at most two connections are looked at; a message is read later than it passes, for
// a few ms at a time; what waits is bounded, and a witness of which something was dropped knows that it is blind for that time.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ShownBy } from '../contract/contract.ts';
import type { BridgeWatch, Watched, WatchedGroup } from '../edge/proxied/watched.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { comparedTexts } from './canonical.ts';

/** A message of the bridge at one witness. */
export interface Frame {
  witness: Witness;
  /** ms, monotonic */
  at: number;
  /** The place in which messages have come to this replica. */
  nth: number;
  target: string;
  /** Its arguments, all of them, and without what the contract ignores. */
  exact: string;
  lenient: string;
  /** The slice of time that it belongs to. */
  slice: number;
  /** An entry is matched with it. */
  isTaken: boolean;
}

export interface Witness {
  connection: Watched;
  /** Since when it is looked at; when something of it was dropped last. ms, monotonic */
  since: number;
  blindAt: number;
  isGone: boolean;
  /** What the bridge has shown it lately, by {@link frameKey}, the oldest first. */
  frames: Map<string, Frame[]>;
  proof: Promise<boolean> | undefined;
}

export interface WitnessesParts {
  watchedGroups(): Iterable<WatchedGroup>;
  /** Whether anything of this group is compared. */
  isWatched(hub: string, group: string): boolean;
  shown(hub: string, method: string): ShownBy | undefined;
  /** @returns its slice */
  onFrame(frame: Frame): number;
  clock: Clock;
  faults: Faults;
}

const perGroup = 2;
const maxWitnesses = 2_000;
/** Groups that are looked at before others get their turn. */
const perTurn = 1_000;
/** Messages, and their bytes, that may wait to be read. */
const maxQueued = 20_000;
const maxQueuedBytes = 16 * 1024 * 1024;
/** A larger one is not compared. */
export const maxComparedBytes = 64 * 1024;
/** ms that messages are read for before others get their turn. */
const turnMs = 3;
/** ms that the bridge may take to answer behind what it has sent before. */
const proofMs = 2_000;

export class Witnesses implements BridgeWatch {
  readonly #parts: WitnessesParts;
  readonly #queue: { witness: Witness; message: Buffer; at: number }[] = [];
  #queuedBytes = 0;
  #isReading = false;
  #isChoosing = false;
  #nth = 0;
  #witnesses = new Map<Watched, Witness>();
  #byGroup = new Map<string, Witness[]>();

  constructor(parts: WitnessesParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#witnesses.size;
  }

  /** Whether any of them speaks MessagePack. */
  get arePacked(): boolean {
    return this.#witnesses.keys().some(({ protocol }) => protocol === 'messagepack');
  }

  /** When the oldest message that is not read yet has come, ms, monotonic; Infinity where there is none. */
  get readTo(): number {
    return this.#queue[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Those that are looked at for this group. */
  of(hub: string, group: string): Witness[] {
    return this.#byGroup.get(`${hub} ${group}`) ?? [];
  }

  saw(connection: Watched, message: Buffer): void {
    const witness = this.#witnesses.get(connection);
    if (witness === undefined) return;
    const at = this.#parts.clock.monotonic();
    if (this.#queue.length >= maxQueued || this.#queuedBytes + message.length > maxQueuedBytes) {
      witness.blindAt = at;
      return;
    }
    this.#queue.push({ witness, message, at });
    this.#queuedBytes += message.length;
    if (this.#isReading) return;
    this.#isReading = true;
    setImmediate(() => this.#read());
  }

  /** Looks who is there now. Never rejects. */
  async choose(): Promise<void> {
    if (this.#isChoosing) return;
    this.#isChoosing = true;
    const chosen = new Map<Watched, Witness>();
    const byGroup = new Map<string, Witness[]>();
    let left = perTurn;
    for (const { hub, group, members } of this.#parts.watchedGroups()) {
      if (left-- === 0) {
        await nextTurn();
        left = perTurn;
      }
      if (!this.#parts.isWatched(hub, group)) continue;
      const witnesses: Witness[] = [];
      for (const connection of members) {
        if (witnesses.length === perGroup) break;
        if (!connection.isOpen || (chosen.size >= maxWitnesses && !chosen.has(connection))) continue;
        const witness = chosen.get(connection) ?? this.#witnesses.get(connection) ?? this.#newWitness(connection);
        chosen.set(connection, witness);
        witnesses.push(witness);
      }
      byGroup.set(`${hub} ${group}`, witnesses);
    }
    for (const [connection, witness] of this.#witnesses) if (!chosen.has(connection)) witness.isGone = true;
    this.#witnesses = chosen;
    this.#byGroup = byGroup;
    this.#isChoosing = false;
  }

  /**
   * Whether everything is read that the bridge had sent to this witness until now: it answers behind that.
   * @returns false where it does not answer in time, or the connection ends
   */
  prove(witness: Witness): Promise<boolean> {
    witness.proof ??= this.#prove(witness).finally(() => {
      witness.proof = undefined;
    });
    return witness.proof;
  }

  async #prove({ connection }: Witness): Promise<boolean> {
    if (!connection.isOpen) return false;
    const answered = connection.fence().then(() => true);
    const isBack = await Promise.race([answered, pause(this.#parts.clock, proofMs).then(() => false)]);
    const now = this.#parts.clock.monotonic();
    while (this.readTo <= now) await nextTurn();
    return isBack && connection.isOpen;
  }

  #newWitness(connection: Watched): Witness {
    const since = this.#parts.clock.monotonic();
    return { connection, since, blindAt: Number.NEGATIVE_INFINITY, isGone: false, frames: new Map(), proof: undefined };
  }

  #read(): void {
    const { clock, faults } = this.#parts;
    const endsAt = clock.monotonic() + turnMs;
    let done = 0;
    while (done < this.#queue.length && (done === 0 || clock.monotonic() < endsAt)) {
      const { witness, message, at } = this.#queue[done++]!;
      this.#queuedBytes -= message.length;
      faults.contain(
        'bridge',
        () => this.#take(witness, message, at),
        () => {
          witness.blindAt = at;
        },
      );
    }
    this.#queue.splice(0, done);
    this.#isReading = this.#queue.length > 0;
    if (this.#isReading) setImmediate(() => this.#read());
  }

  #take(witness: Witness, message: Buffer, at: number): void {
    const { connection } = witness;
    // What ends a connection is no message of the bridge to it.
    if (witness.isGone || !connection.isOpen) return;
    const messages = message.length > maxComparedBytes ? undefined : connection.messagesIn(message);
    if (messages === undefined) {
      witness.blindAt = at;
      return;
    }
    for (const { target, args } of messages) {
      const texts = comparedTexts(args, connection.protocol, this.#parts.shown(connection.hub.name, target));
      const frame = { witness, at, nth: this.#nth++, target, ...texts, slice: 0, isTaken: false };
      addTo(witness.frames, frameKey(target, frame.lenient), frame);
      frame.slice = this.#parts.onFrame(frame);
    }
  }
}

export function frameKey(target: string, lenient: string): string {
  return `${target} ${lenient}`;
}

/** It is not matched any more. */
export function forgetFrame(frame: Frame): void {
  const key = frameKey(frame.target, frame.lenient);
  const { frames } = frame.witness;
  dropFrom(frames, key, frame);
}

export function addTo<Key, Thing>(map: Map<Key, Thing[]>, key: Key, thing: Thing): void {
  const things = map.get(key);
  if (things === undefined) map.set(key, [thing]);
  else things.push(thing);
}

/** Takes one of the things that stand under a key away, mostly the oldest. */
export function dropFrom<Key, Thing>(map: Map<Key, Thing[]>, key: Key, thing: Thing): void {
  const things = map.get(key);
  const at = things?.indexOf(thing) ?? -1;
  if (at !== -1) things!.splice(at, 1);
  if (things?.length === 0) map.delete(key);
}
