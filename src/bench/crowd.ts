// The load generator: clients in rooms, and a backend that speaks to them (backend.ts). In come a wire and how many members each room
// has; out goes what a run measured. Promises: a run ends when everything owed has come, or nothing has come for 3 s.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrossfadeError } from '../errors.ts';
import { type AllSent, type LoadAnswer, LoadBackend } from './backend.ts';
import { type Deliveries, DeliveryLedger, type Percentiles, type Progress, type Slice } from './ledger.ts';
import { countOf, openLoop } from './open-loop.ts';
import { ownProgram } from './own-program.ts';
import { sharedNow } from './shared-clock.ts';
import { TypingLedger, type TypingSeen } from './typing.ts';
import { type LoadClient, type Marker, readMarkers, type Wire } from './wire.ts';

export interface CrowdOptions {
  wire: Wire;
  /** How many clients each room has. */
  members: number[];
  /** How many calls the backend may have under way at a time. */
  senders: number;
  /** How crossfade is called, where it is not this very program. */
  program?: string[];
  /** @param share of the clients that are members */
  onProgress?(share: number): void;
}

export interface RunOptions {
  /** Messages each second, over the rooms in turn. */
  rate: number;
  seconds: number;
  /** How many users type all the while, see typing.ts; 0 where it is not given. */
  typists?: number;
  /** How many clients a second come into a room in turn, stay for 2 s and go; what they are shown is not counted. 0 where it is not given. */
  visitors?: number;
  /** CPU seconds so far of the processes under load, by name. */
  readCpu?(): Promise<Record<string, number>> | Record<string, number>;
  /** @param share of the run that is over */
  onProgress?(share: number): void;
}

export interface Measured {
  calls: {
    sent: number;
    /** Answered with success. */
    accepted: number;
    /** The others, by status or error. */
    failed: Record<string, number>;
  };
  publishMs: Percentiles | undefined;
  endToEndMs: Percentiles | undefined;
  deliveries: Deliveries;
  typing: TypingSeen | undefined;
  /** CPU seconds of each process in this run. */
  cpuSeconds: Record<string, number>;
  /** Of these, microseconds for each delivery that was asked for, typing that was merged into other typing included. */
  cpuPerDeliveryUs: Record<string, number>;
  generator: {
    /** ms by which it sent later than it should have. */
    lateMs: Percentiles | undefined;
    /** Of one core, both of its processes together. */
    cpuShare: number;
  };
  /** Visitors that could not join. */
  visitorsRefused: number;
  /** Clients whose connection has ended so far. */
  clientsLost: number;
  overTime: Slice[];
}

/** Opened at a time. */
const openingClients = 50;
const quietMs = 3_000;
const doublesWithinMs = 150;
const visitMs = 2_000;
const progressMs = 200;

export class Crowd {
  readonly #options: CrowdOptions;
  readonly #backend: LoadBackend;
  readonly #clients: LoadClient[] = [];
  readonly #progress: Progress[] = [];
  /** Nobody else's rooms, so that what is shown there is this crowd's. */
  readonly #name = randomUUID().slice(0, 8);
  #clientsLost = 0;
  #run: LoadRun | undefined;
  /** Indexes go on over the runs, so that what comes late is not taken for a message of the next one. */
  #firstIndex = 0;

  private constructor(options: CrowdOptions) {
    this.#options = options;
    const { wire, senders, program = ownProgram() } = options;
    this.#backend = new LoadBackend({ wire, senders, program });
  }

  /** Errors: BENCH_TARGET (a client is refused). */
  static async open(options: CrowdOptions): Promise<Crowd> {
    const crowd = new Crowd(options);
    try {
      await crowd.#openClients();
    } catch (cause) {
      await crowd.close();
      throw new CrossfadeError('BENCH_TARGET', `a client cannot join a room: ${(cause as Error).message}`, { cause });
    }
    return crowd;
  }

  get size(): number {
    return this.#clients.length;
  }

  /** One at a time. */
  async run(options: RunOptions): Promise<Measured> {
    const { members } = this.#options;
    for (const progress of this.#progress) {
      progress.last = -1;
      progress.missing.clear();
    }
    const run = new LoadRun({ ...options, members, crowd: this.#name, firstIndex: this.#firstIndex });
    this.#firstIndex += countOf(options);
    this.#run = run;
    const measured = await run.drive(this.#options.wire, this.#backend);
    return { ...measured, clientsLost: this.#clientsLost };
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#backend.close();
  }

  async #openClients(): Promise<void> {
    const rooms = this.#options.members.flatMap((count, room) => Array.from({ length: count }, () => room));
    let next = 0;
    const openNext = async () => {
      while (next < rooms.length) {
        const n = next++;
        this.#clients.push(await this.#join(rooms[n]!, `bench-${this.#name}-${n}`));
        this.#options.onProgress?.(this.#clients.length / rooms.length);
      }
    };
    await Promise.all(Array.from({ length: openingClients }, openNext));
  }

  #join(room: number, user: string): Promise<LoadClient> {
    const progress: Progress = { room, last: -1, missing: new Set() };
    this.#progress.push(progress);
    const onMarker = (marker: Marker) => this.#run?.show(progress, marker);
    return this.#options.wire.join({
      user,
      room: roomName(this.#name, room),
      onData: (data) => readMarkers(data, onMarker),
      onLost: () => {
        this.#clientsLost++;
      },
    });
  }
}

function roomName(crowd: string, room: number): string {
  return `bench-${crowd}-room-${room}`;
}

/** Clients in rooms of about the same size. */
export function evenly(clients: number, rooms: number): number[] {
  return Array.from({ length: rooms }, (_, room) => Math.floor((clients + rooms - 1 - room) / rooms));
}

interface LoadRunOptions extends RunOptions {
  crowd: string;
  members: number[];
  firstIndex: number;
}

class LoadRun {
  readonly #options: LoadRunOptions;
  readonly #ledger: DeliveryLedger;
  readonly #typing: TypingLedger | undefined;
  readonly #failed: Record<string, number> = {};
  #accepted = 0;
  #answered = 0;
  #lastSignAt = 0;
  #visitorsRefused = 0;
  readonly #visits = new Set<Promise<void>>();

  constructor(options: LoadRunOptions) {
    const { members, seconds, typists = 0 } = options;
    this.#options = options;
    this.#ledger = new DeliveryLedger({
      total: countOf(options),
      members,
      startedAt: sharedNow(),
      durationMs: seconds * 1_000,
    });
    if (typists > 0) this.#typing = new TypingLedger(typists, members);
  }

  show(progress: Progress, marker: Marker): void {
    const now = sharedNow();
    this.#lastSignAt = now;
    if (marker.kind === 'typing') return this.#typing?.show(marker);
    const index = marker.index - this.#options.firstIndex;
    if (index >= 0) this.#ledger.show(progress, index, now);
  }

  async drive(wire: Wire, backend: LoadBackend): Promise<Omit<Measured, 'clientsLost'>> {
    const { readCpu = () => ({}), seconds, onProgress } = this.#options;
    const startedAt = sharedNow();
    const ticks = setInterval(() => onProgress?.(Math.min(1, (sharedNow() - startedAt) / 1_000 / seconds)), progressMs);
    try {
      const [cpuBefore, ownBefore] = [await readCpu(), process.cpuUsage()];
      const [allSent] = await Promise.all([this.#speak(wire, backend), this.#visit(wire)]);
      const own = process.cpuUsage(ownBefore);
      const generatorMs = sharedNow() - startedAt;
      await this.#untilAllHasCome(allSent);
      const cpuAfter = await readCpu();
      await Promise.all([sleep(doublesWithinMs), ...this.#visits]);
      const cpuShare = ((own.user + own.system) / 1_000 + allSent.cpuMs) / generatorMs;
      return this.#measured(allSent, cpuShare, cpuBetween(cpuBefore, cpuAfter));
    } finally {
      clearInterval(ticks);
    }
  }

  #speak({ message, typing }: Wire, backend: LoadBackend): Promise<AllSent> {
    const { crowd, members, firstIndex, rate, seconds } = this.#options;
    const load = {
      rate,
      seconds,
      rooms: members.map((_, room) => roomName(crowd, room)),
      message,
      firstIndex,
      ids: randomUUID().slice(0, 24),
      typing,
      typists: this.#typing?.typists ?? 0,
    };
    return backend.play(load, (answer) => this.#hear(answer));
  }

  #hear({ kind, n, from, sentAt, answeredAt, outcome }: LoadAnswer): void {
    this.#answered++;
    this.#lastSignAt = sharedNow();
    if (kind === 'message') this.#ledger.sent(n, from, sentAt);
    const isAccepted = typeof outcome === 'number' && outcome >= 200 && outcome < 300;
    if (!isAccepted) {
      this.#failed[outcome] = (this.#failed[outcome] ?? 0) + 1;
      return;
    }
    this.#accepted++;
    if (kind === 'message') this.#ledger.accepted(n, answeredAt);
    else this.#typing?.accepted(n);
  }

  #visit(wire: Wire): Promise<void> | undefined {
    const { crowd, members, visitors = 0, seconds } = this.#options;
    if (visitors === 0) return undefined;
    const act = (n: number) => {
      const room = roomName(crowd, n % members.length);
      const visit = wire
        .join({ user: `visitor-${n}`, room, onData() {}, onLost() {} })
        .then(async (client) => {
          await sleep(visitMs);
          client.close();
        })
        .catch(() => {
          this.#visitorsRefused++;
        })
        .finally(() => this.#visits.delete(visit));
      this.#visits.add(visit);
    };
    return openLoop({ rate: visitors, seconds, act });
  }

  async #untilAllHasCome({ sent }: AllSent): Promise<void> {
    this.#lastSignAt = sharedNow();
    const isOver = () => this.#answered >= sent && this.#ledger.isComplete && (this.#typing?.isSettled ?? true);
    while (!isOver() && sharedNow() - this.#lastSignAt < quietMs) await sleep(10);
  }

  #measured(
    { sent, lateMs }: AllSent,
    cpuShare: number,
    cpuSeconds: Record<string, number>,
  ): Omit<Measured, 'clientsLost'> {
    const { publish, endToEnd, deliveries, overTime } = this.#ledger;
    // Typing that is merged is work saved, not work that nobody wanted.
    const asked = deliveries.owed + (this.#typing?.seen.uncoalesced ?? 0);
    const perDelivery = Object.entries(cpuSeconds).map(([name, s]) => [
      name,
      hundredths((s * 1e6) / Math.max(1, asked)),
    ]);
    return {
      calls: { sent, accepted: this.#accepted, failed: this.#failed },
      publishMs: publish.percentiles(),
      endToEndMs: endToEnd.percentiles(),
      deliveries,
      typing: this.#typing?.seen,
      cpuSeconds,
      cpuPerDeliveryUs: Object.fromEntries(perDelivery),
      generator: { lateMs, cpuShare: hundredths(cpuShare) },
      visitorsRefused: this.#visitorsRefused,
      overTime,
    };
  }
}

function cpuBetween(before: Record<string, number>, after: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(after).map(([name, seconds]) => [name, seconds - (before[name] ?? 0)]));
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}
