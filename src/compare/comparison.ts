// What one replica finds while a compare runs: in come the shadow entries as they are read and the bridge's messages at the witnesses, out
// go a report for each slice of time. Promises: an entry is held against the bridge only by a witness that was a member well before the
// call and whose bridge has answered behind everything it had sent; a message only where nothing else can explain it; what is in doubt is
// said to be so, and never counted as equal.
//
// An entry waits `graceMs` for its message, then the witnesses of its groups are asked; a message waits `frameMs`, in which the entries of
// all replicas' calls have been read. An entry that was missed waits until the messages that had come by then are judged, too: only one that
// no entry explains may be the missed one with other arguments. A message whose entry is merely not read yet is not.

import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Contract, ShownBy } from '../contract/contract.ts';
import type { Delivery } from '../contract/event.ts';
import { parseExact } from '../contract/exact.ts';
import type { HubProtocolName } from '../edge/hub-protocol/protocol.ts';
import type { WatchedGroup } from '../edge/proxied/watched.ts';
import type { Entry } from '../log/log.ts';
import type { LogClock } from '../log/log-clock.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { comparedTexts, differenceBetween } from './canonical.ts';
import { type CompareSample, type Mark, type SliceReport, stronger } from './slice.ts';
import { type Judged, Slices } from './slices.ts';
import {
  addTo,
  dropFrom,
  type Frame,
  forgetFrame,
  frameKey,
  maxComparedBytes,
  type Witness,
  Witnesses,
} from './witnesses.ts';

export interface ComparisonParts {
  instance: string;
  contract: Pick<Contract, 'shown' | 'roomOf'>;
  watchedGroups(): Iterable<WatchedGroup>;
  /** Where the room's events go now; `unwatched`: by the bridge, without a shadow. */
  wayOf(room: string): 'stream' | 'mirrored' | 'unwatched';
  logClock: Pick<LogClock, 'offset'>;
  clock: Clock;
  faults: Faults;
}

/** An entry that is being judged. */
interface Expected extends Judged {
  /** ms, monotonic */
  readAt: number;
  times: Times | undefined;
  /** What its message looks like, by hub, name and protocol; empty where it is too large. */
  forms: Map<string, { exact: string; lenient: string }>;
  /** How many of its messages each witness was shown. */
  shownTo: Map<Witness, number>;
  missed: Missed[];
  /** Its witnesses were asked. */
  isSettled: boolean;
  /** ... and what they missed is decided. */
  isDecided: boolean;
}

/** A witness was due to be shown an entry, and was not, by the time that its bridge had answered behind everything sent before. */
interface Missed {
  expected: Expected;
  delivery: Delivery;
  witness: Witness;
  /** What it was shown in its place. */
  changed: { frame: Frame; paths: string[] } | undefined;
}

/** When its call went to the bridge, and when that had answered: ms, monotonic of this process. */
interface Times {
  sentAt: number;
  answeredAt: number;
  /** It did not go there before. */
  earliest: number;
}

/** What a witness was shown of one room, for the order. */
interface ShownEntry {
  expected: Expected;
  nth: number;
}

/** ms that a message may come behind its entry. */
const graceMs = 3_000;
/** ms after which a message that no entry explains is judged: an entry is read at most so long after its call went to the bridge. */
const frameMs = 8_000;
const maxFrameMs = 12_000;
/** ms that a witness must have been a member, and looked at, before the call. */
const stableMs = 1_000;
/** ms from sending a call to the bridge to the reading of its shadow; a slower one is not judged. */
const longestMs = 5_000;
/** ms that entries are kept for messages that come late. */
const keptMs = 14_000;
/** ms without a word that everything is read. */
const freshMs = 2_000;
const maxKept = 60_000;
const maxKeptBytes = 64 * 1024 * 1024;
const turnMs = 5;
/** ms that clocks may run apart between two measurements. */
const roundingMs = 5;
/** ms by which a message may stand before its call: a busy machine measures the clocks of others late. */
const earlyMs = 250;
const shownPerRoom = 64;
const valueChars = 128;
/** Missed entries that one message is held beside. */
const maxCandidates = 20;
/** A message with other arguments, not another message: more than this share of its values is the same, or all but one. */
const likeness = 0.75;

export class Comparison {
  readonly witnesses: Witnesses;
  readonly #parts: ComparisonParts;
  readonly #slices: Slices;
  /** In the order in which they were read, until they are forgotten. */
  readonly #kept: Expected[] = [];
  #keptBytes = 0;
  /** Those before it are being settled, or are. */
  #nextToSettle = 0;
  readonly #byKey = new Map<string, Expected[]>();
  /** Entries of which witnesses are being asked. */
  readonly #asked = new Set<Expected>();
  /** Entries that were missed, and when that was known, ms monotonic; in that order, until they are decided. */
  readonly #missing: { expected: Expected; knownAt: number }[] = [];
  /** The same by witness: a bridge that changes every message makes as many of them as there are events, and each message looks for its own. */
  readonly #missedBy = new Map<Witness, Missed[]>();
  /** In the order in which they came. */
  readonly #frames: Frame[] = [];
  readonly #rooms = new WeakMap<Witness, Map<string, ShownEntry[]>>();
  /** Everything of the log is read that stood there then; when it was last not so. ms, monotonic */
  #freshAt = 0;
  #lookedAt: number;
  /** ms, monotonic */
  #movedAt = Number.NEGATIVE_INFINITY;
  /** Whether what is due has its next turn already. */
  #goesOn = false;

  constructor(parts: ComparisonParts) {
    this.#parts = parts;
    const { clock, contract, wayOf } = parts;
    this.#lookedAt = clock.monotonic();
    this.#slices = new Slices(parts.instance, clock);
    this.witnesses = new Witnesses({
      ...parts,
      isWatched(hub, group) {
        const room = contract.roomOf(hub, group);
        return room === undefined || wayOf(room) !== 'unwatched';
      },
      shown: (hub, method) => contract.shown(hub, method),
      onFrame: (frame) => this.#onFrame(frame),
    });
  }

  /** From then until now the bridge may have shown what no shadow tells of. @param sinceMs monotonic */
  disturb(why: string, sinceMs: number): void {
    this.#slices.disturb(why, sinceMs, this.#parts.clock.monotonic());
  }

  /**
   * Rooms may go another way from now on, as where the mirror's share has changed. A message is judged by the way that its room goes then:
   * those that have come before cannot be.
   */
  moved(): void {
    this.#movedAt = this.#parts.clock.monotonic();
    this.disturb('the cutover moved', this.#movedAt - stableMs);
  }

  /** As {@link disturb}, for one call. */
  onUnshadowed(why: string, sinceMs: number): void {
    this.disturb(why, sinceMs);
    this.#slices.unshadowed(sinceMs);
  }

  /** Entries as the log gives them. @param isAll whether nothing more stood there */
  async read(entries: Entry[], isAll: boolean): Promise<void> {
    for (const [i, entry] of entries.entries()) {
      if (i % 50 === 49) await nextTurn();
      this.#take(entry, this.#parts.clock.monotonic());
    }
    if (isAll) this.#freshAt = this.#parts.clock.monotonic();
  }

  /** Judges what is due; to be called a few times a second. @returns the slices that are done */
  look(): SliceReport[] {
    const now = this.#parts.clock.monotonic();
    // A process that stood still has not read what it should have.
    if (now - this.#lookedAt > graceMs / 2) this.disturb('a replica stood still', this.#lookedAt);
    this.#lookedAt = now;
    if (now - this.#freshAt > freshMs) this.disturb('the log was read late', this.#freshAt);
    this.#settleDue();
    this.#forget(now);
    return this.#slices.due(now);
  }

  /** A few ms at a time: what is due beyond that has its turn behind everybody else's. */
  #settleDue(): void {
    const { clock, faults } = this.#parts;
    const endsAt = clock.monotonic() + turnMs;
    this.#settleEntries(clock.monotonic(), endsAt);
    this.#settleFrames(clock.monotonic(), endsAt);
    this.#settleMissing(clock.monotonic(), endsAt);
    if (clock.monotonic() <= endsAt || this.#goesOn) return;
    this.#goesOn = true;
    setImmediate(() => {
      this.#goesOn = false;
      faults.contain('bridge', () => this.#settleDue());
    });
  }

  // Entries.

  #take(entry: Entry, readAt: number): void {
    const expected: Expected = {
      entry,
      mark: '.',
      readAt,
      times: this.#timesOf(entry),
      forms: new Map(),
      shownTo: new Map(),
      missed: [],
      isSettled: false,
      isDecided: false,
    };
    if (!this.#slices.begin(expected, readAt)) return;
    if (this.#kept.length >= maxKept || this.#keptBytes > maxKeptBytes) {
      expected.mark = 'b';
      this.disturb('too much at once', readAt);
      return this.#settled(expected);
    }
    this.#kept.push(expected);
    this.#keptBytes += entry.payload.length;
    if (entry.payload.length > maxComparedBytes / 2) {
      this.disturb('an event is too large', expected.times?.earliest ?? readAt);
      return;
    }
    try {
      this.#addForms(expected, [parseExact(entry.payload)]);
    } catch (error) {
      // It nests too deep to be compared.
      if (!(error instanceof RangeError)) throw error;
    }
  }

  #addForms(expected: Expected, args: unknown[]): void {
    const protocols: HubProtocolName[] = this.witnesses.arePacked ? ['json', 'messagepack'] : ['json'];
    for (const { hub, method } of expected.entry.deliveries ?? []) {
      for (const protocol of protocols) {
        const name = formName(hub, method, protocol);
        if (expected.forms.has(name)) continue;
        const form = comparedTexts(args, protocol, this.#parts.contract.shown(hub, method));
        expected.forms.set(name, form);
        addTo(this.#byKey, `${name} ${form.lenient}`, expected);
      }
    }
  }

  #settleEntries(now: number, endsAt: number): void {
    for (; this.#nextToSettle < this.#kept.length; this.#nextToSettle++) {
      const expected = this.#kept[this.#nextToSettle]!;
      const isDue = expected.readAt + graceMs <= now && this.witnesses.readTo > expected.readAt + graceMs;
      if (!isDue || this.#parts.clock.monotonic() > endsAt) return;
      this.#parts.faults.contain('bridge', () => this.#settle(expected));
    }
  }

  async #settle(expected: Expected): Promise<void> {
    this.#asked.add(expected);
    try {
      const asked: Promise<Mark>[] = [];
      for (const delivery of expected.entry.deliveries ?? []) {
        for (const witness of this.witnesses.of(delivery.hub, delivery.group)) {
          const mark = this.#markAt(expected, delivery, witness);
          if (typeof mark === 'string') expected.mark = stronger(expected.mark, mark);
          else asked.push(mark);
        }
      }
      for (const mark of await Promise.all(asked)) expected.mark = stronger(expected.mark, mark);
    } finally {
      this.#asked.delete(expected);
      this.#settled(expected);
    }
  }

  #settled(expected: Expected): void {
    expected.isSettled = true;
    if (expected.missed.length === 0) return this.#decide(expected);
    this.#missing.push({ expected, knownAt: this.#parts.clock.monotonic() });
    for (const missed of expected.missed) addTo(this.#missedBy, missed.witness, missed);
  }

  /** What one witness says of the entry; in time, where the bridge has to be asked. */
  #markAt(expected: Expected, delivery: Delivery, witness: Witness): Mark | Promise<Mark> {
    const doubt = this.#doubt(expected, delivery, witness);
    if (doubt !== undefined) return doubt;
    return this.#found(expected, delivery, witness) ?? this.#missedAt(expected, delivery, witness);
  }

  /** Why the witness need not have been shown the entry. */
  #doubt({ times, readAt, forms }: Expected, { hub, group, method }: Delivery, witness: Witness): Mark | undefined {
    const { connection, since, blindAt } = witness;
    const joinedAt = connection.memberSince(group);
    if (times === undefined || readAt - times.earliest > longestMs) return 'l';
    if (joinedAt === undefined || Math.max(joinedAt, since) + stableMs > times.earliest) return 'j';
    if (!forms.has(formName(hub, method, connection.protocol))) return 'x';
    return blindAt >= times.earliest || !connection.isOpen ? 'b' : undefined;
  }

  #found(expected: Expected, delivery: Delivery, witness: Witness): Mark | undefined {
    const { entry, readAt } = expected;
    const { exact, lenient } = formFor(expected, delivery, witness);
    const { sentAt, answeredAt, earliest } = expected.times!;
    const alike = (witness.frames.get(frameKey(delivery.method, lenient)) ?? []).filter(
      (each) => !each.isTaken && each.at >= earliest,
    );
    const frame = alike.find((each) => each.exact === exact) ?? alike[0];
    if (frame === undefined) return undefined;
    this.#match(expected, witness, frame);
    this.#slices.took(entry.eventType, readAt, frame.at - sentAt, readAt - answeredAt);
    if (this.#isOnlyOne(frame)) this.#checkOrder(expected, witness, delivery, frame);
    return frame.exact === exact ? '=' : '~';
  }

  /** Of several that look alike it cannot be told which is whose, so that none says anything of the order; nor what clients send, too. */
  #isOnlyOne(frame: Frame): boolean {
    const { witness, target, lenient } = frame;
    if (this.#parts.contract.shown(witness.connection.hub.name, target)?.byClients === true) return false;
    return this.#entriesLike(frame).length === 1 && witness.frames.get(frameKey(target, lenient))?.length === 1;
  }

  #match(expected: Expected, witness: Witness, frame: Frame): void {
    frame.isTaken = true;
    expected.shownTo.set(witness, (expected.shownTo.get(witness) ?? 0) + 1);
    const messages = this.#slices.messagesIn(frame.slice);
    if (messages !== undefined) messages.explained++;
  }

  async #missedAt(expected: Expected, delivery: Delivery, witness: Witness): Promise<Mark> {
    const { group } = delivery;
    const before = witness.connection.memberSince(group);
    if (!(await this.witnesses.prove(witness))) return 'b';
    const { connection, blindAt, isGone } = witness;
    const isSame = connection.memberSince(group) === before && !isGone && blindAt < expected.times!.earliest;
    const found = this.#found(expected, delivery, witness);
    if (found !== undefined) return found;
    // It counts as not judged until #settleMissing has decided.
    if (isSame) expected.missed.push({ expected, delivery, witness, changed: undefined });
    return 'b';
  }

  /** Decides on entries behind which every message is judged that had come until they were known to be missed. */
  #settleMissing(now: number, endsAt: number): void {
    const judgedTo = this.#frames[0]?.at ?? Number.POSITIVE_INFINITY;
    let done = 0;
    for (const { expected, knownAt } of this.#missing) {
      if (knownAt + frameMs > now || knownAt >= judgedTo || this.#parts.clock.monotonic() > endsAt) break;
      for (const missed of expected.missed) {
        expected.mark = stronger(expected.mark, this.#decided(missed));
        dropFrom(this.#missedBy, missed.witness, missed);
      }
      this.#decide(expected);
      done++;
    }
    this.#missing.splice(0, done);
  }

  #decide(expected: Expected): void {
    expected.isDecided = true;
    this.#slices.end(expected);
  }

  #decided({ expected, delivery, witness, changed }: Missed): Mark {
    // It may have come late, all the same.
    const found = changed === undefined ? this.#found(expected, delivery, witness) : undefined;
    if (found !== undefined) return found;
    const { exact } = formFor(expected, delivery, witness);
    this.#slices.sample(expected, {
      ...this.#sampleOf(changed === undefined ? 'missing' : 'changed', expected, delivery),
      stream: cut(exact),
      ...(changed !== undefined && { bridge: cut(changed.frame.exact), paths: changed.paths.slice(0, 5).map(cut) }),
    });
    return changed === undefined ? 'm' : 'c';
  }

  /** Of two calls of a room, one accepted after the other was answered, the second one must not be shown first. */
  #checkOrder(expected: Expected, witness: Witness, delivery: Delivery, { nth }: Frame): void {
    const rooms = this.#rooms.get(witness) ?? new Map<string, ShownEntry[]>();
    this.#rooms.set(witness, rooms);
    const shown = rooms.get(expected.entry.room) ?? [];
    for (const other of shown) {
      const isSwapped = other.nth > nth ? precedes(other.expected, expected) : precedes(expected, other.expected);
      if (!isSwapped) continue;
      const late = other.nth > nth && this.#slices.isOpen(other.expected) ? other.expected : expected;
      late.mark = stronger(late.mark, 'o');
      this.#slices.sample(late, this.#sampleOf('order', late, delivery));
      break;
    }
    rooms.set(expected.entry.room, [...shown.slice(1 - shownPerRoom), { expected, nth }]);
  }

  // Messages.

  #onFrame(frame: Frame): number {
    this.#frames.push(frame);
    return this.#slices.beginMessage(frame.at);
  }

  #settleFrames(now: number, endsAt: number): void {
    let done = 0;
    for (const frame of this.#frames) {
      if (frame.at + frameMs > now || this.#parts.clock.monotonic() > endsAt) break;
      if (!frame.isTaken && this.#mayBeExplained(frame, now)) break;
      if (!frame.isTaken) this.#judge(frame);
      this.#slices.endMessage(frame.slice);
      forgetFrame(frame);
      done++;
    }
    this.#frames.splice(0, done);
  }

  /**
   * An entry of the same content is still being judged, however long that takes: it would miss it; or one that was called before, which may
   * have been shown with other arguments; or the log is not read that far.
   */
  #mayBeExplained(frame: Frame, now: number): boolean {
    if (this.#entriesLike(frame).some(({ isSettled }) => !isSettled)) return true;
    if ([...this.#asked].some(({ times }) => times !== undefined && times.earliest <= frame.at)) return true;
    return frame.at + maxFrameMs > now && this.#freshAt < frame.at + graceMs;
  }

  #judge(frame: Frame): void {
    const { witness, target, slice } = frame;
    const messages = this.#slices.messagesIn(slice);
    if (messages === undefined) return;
    const alike = this.#entriesLike(frame);
    const unshown = alike.find((expected) => this.#mayBeShown(expected, frame));
    if (unshown !== undefined) {
      unshown.shownTo.set(witness, (unshown.shownTo.get(witness) ?? 0) + 1);
      messages.explained++;
      return;
    }
    if (alike.length === 0 && this.#isChanged(frame)) return;
    const shown = this.#parts.contract.shown(witness.connection.hub.name, target);
    if (shown?.byClients) messages.byClients++;
    else if (shown?.byCalls !== true) messages.ofHub++;
    else if (this.#isUncertain(frame)) messages.unjudged++;
    else this.#suspect(frame, shown, alike);
  }

  /** Whether it is mostly like an entry that the witness has missed: that it is, then, with other arguments. */
  #isChanged(frame: Frame): boolean {
    const { witness, target, exact, at } = frame;
    const isCandidate = ({ expected, delivery, changed }: Missed) => {
      if (changed !== undefined || delivery.method !== target) return false;
      const room = JSON.stringify(expected.entry.room);
      const ofRoom = formFor(expected, delivery, witness).exact.includes(room);
      return at >= expected.times!.earliest && exact.includes(room) === ofRoom;
    };
    const candidates = (this.#missedBy.get(witness) ?? [])
      .filter(isCandidate)
      .slice(0, maxCandidates)
      .map((missed) => {
        const form = formFor(missed.expected, missed.delivery, witness);
        return { missed, ...differenceBetween(form.exact, exact) };
      });
    const [best] = candidates.sort((a, b) => b.alike - a.alike);
    if (best === undefined || (best.alike <= likeness && best.paths.length !== 1)) return false;
    best.missed.changed = { frame, paths: best.paths };
    this.#match(best.missed.expected, witness, frame);
    return true;
  }

  /** Whether the entry has a delivery for this witness that none of its messages was matched with. */
  #mayBeShown({ entry, shownTo }: Expected, { witness, target }: Frame): boolean {
    const { connection } = witness;
    const own = (entry.deliveries ?? []).filter(
      ({ hub, group, method }) =>
        hub === connection.hub.name && method === target && connection.memberSince(group) !== undefined,
    );
    return own.length > (shownTo.get(witness) ?? 0);
  }

  #isUncertain({ witness, at }: Frame): boolean {
    const { connection, since, isGone } = witness;
    const changedAt = connection.groupsChangedAt;
    if (this.#freshAt < at + graceMs || at <= this.#movedAt) return true;
    return isGone || !connection.isOpen || since + stableMs > at || changedAt + stableMs > at;
  }

  #suspect(frame: Frame, shown: ShownBy, alike: Expected[]): void {
    const { witness, target, at, lenient, slice } = frame;
    const hub = witness.connection.hub.name;
    const { all, named } = this.#roomsOf(frame, shown);
    // One of a room that is not mirrored is nobody's fault.
    if (alike.length === 0 && (all.length === 0 || all.some((room) => this.#parts.wayOf(room) === 'unwatched'))) return;
    const rooms = named.length > 0 ? named : all;
    const ways = new Set(rooms.map((room) => this.#parts.wayOf(room)));
    const isMember = alike.some(({ shownTo }) => shownTo.has(witness));
    const unexplained = ways.size === 1 && ways.has('stream') ? 'foreign' : 'alone';
    const kind = alike.length === 0 ? unexplained : isMember ? 'twice' : 'outsider';
    this.#slices.suspect(slice, {
      key: createHash('sha1').update(`${hub} ${target} ${lenient}`).digest('base64').slice(0, 16),
      sample: {
        kind,
        replica: cut(this.#parts.instance),
        at: this.#whenText(at),
        hub: cut(hub),
        method: cut(target),
        rooms: rooms.slice(0, 3).map(cut),
        ...(alike[0] !== undefined && {
          eventId: cut(alike[0].entry.eventId),
          eventType: cut(alike[0].entry.eventType),
        }),
        bridge: cut(frame.exact),
      },
    });
  }

  /** The rooms that the message may be of, and those of them that are named in it. */
  #roomsOf({ witness, exact }: Frame, shown: ShownBy): { all: string[]; named: string[] } {
    const { connection } = witness;
    const rooms = [...connection.groupNames]
      .filter((group) => shown.goesTo(group))
      .flatMap((group) => this.#parts.contract.roomOf(connection.hub.name, group) ?? []);
    const all = [...new Set(rooms)];
    return { all, named: all.filter((room) => exact.includes(JSON.stringify(room))) };
  }

  #entriesLike({ witness, target, lenient }: Frame): Expected[] {
    const { hub, protocol } = witness.connection;
    return this.#byKey.get(`${formName(hub.name, target, protocol)} ${lenient}`) ?? [];
  }

  #sampleOf(kind: CompareSample['kind'], { entry, readAt }: Expected, { hub, method }: Delivery): CompareSample {
    return {
      kind,
      replica: cut(this.#parts.instance),
      at: this.#whenText(readAt),
      hub: cut(hub),
      method: cut(method),
      rooms: [cut(entry.room)],
      eventId: cut(entry.eventId),
      eventType: cut(entry.eventType),
    };
  }

  #timesOf({ mirrored }: Entry): Times | undefined {
    const own = this.#parts.logClock.offset;
    if (mirrored === undefined || own === undefined) return undefined;
    const toOwnMs = mirrored.toLogMs - own.toLogMs;
    const sentAt = mirrored.sentAt + toOwnMs;
    return {
      sentAt,
      answeredAt: mirrored.answeredAt + toOwnMs,
      earliest: sentAt - mirrored.withinMs - own.withinMs - earlyMs,
    };
  }

  #whenText(monotonicMs: number): string {
    const { clock } = this.#parts;
    return new Date(clock.now() - clock.monotonic() + monotonicMs).toISOString();
  }

  #forget(now: number): void {
    let done = 0;
    while (done < this.#nextToSettle && this.#kept[done]!.isDecided && this.#kept[done]!.readAt + keptMs <= now) {
      const expected = this.#kept[done++]!;
      this.#keptBytes -= expected.entry.payload.length;
      for (const [name, { lenient }] of expected.forms) dropFrom(this.#byKey, `${name} ${lenient}`, expected);
    }
    this.#kept.splice(0, done);
    this.#nextToSettle -= done;
  }
}

/** What the entry's message looks like to a witness that can be shown it. */
function formFor({ forms }: Expected, { hub, method }: Delivery, { connection }: Witness) {
  return forms.get(formName(hub, method, connection.protocol))!;
}

function formName(hub: string, method: string, protocol: HubProtocolName): string {
  return `${protocol} ${hub} ${method}`;
}

/** Whether the second one was certainly accepted after the first one was answered. */
function precedes({ entry: a }: Judged, { entry: b }: Judged): boolean {
  const [first, second] = [a.mirrored!, b.mirrored!];
  const withinMs = first.withinMs + second.withinMs + roundingMs;
  const apartMs = second.toLogMs - first.toLogMs;
  // One process has one clock.
  if (a.instance === b.instance && Math.abs(apartMs) <= withinMs) return first.answeredAt < second.sentAt;
  return first.answeredAt + withinMs < second.sentAt + apartMs;
}

function cut(text: string): string {
  return text.length <= valueChars ? text : `${text.slice(0, valueChars - 1)}…`;
}
