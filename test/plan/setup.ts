// A cutover for plans: replicas that are moved by one clock, over one log; what they say of themselves is the test's to say.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Operator } from '../../src/cutover/operator.ts';
import type { ReplicaView } from '../../src/cutover/own-view.ts';
import type { Rollback } from '../../src/cutover/rollback.ts';
import type { Seen } from '../../src/cutover/survey.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { readPlan } from '../../src/plan/plan.ts';
import { Plans } from '../../src/plan/plans.ts';
import type { Outage } from '../../src/rooms/outage.ts';
import type { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type CutoverState, type Difference, initialState, nextState, rolledBack } from '../../src/rooms/state.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { secondsBuckets } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

export const plan = readPlan(
  `
name: evening
steps:
  - { percent: 5, hold: 20s }
  - { percent: 100, hold: 10s }
samples: { every: 5s, count: 2, events: 100 }
`,
  'plan.yaml',
);

/** `events` that took 5 to 10 ms each, or `slow`: 50 to 100 ms. */
function laneOf(events: number, slow = false): ReplicaView['lanes']['stream'] {
  const first = secondsBuckets.findIndex((bound) => bound >= (slow ? 0.1 : 0.01));
  return { events, failures: 0, delivered: [...secondsBuckets, 0].map((_, at) => (at < first ? 0 : events)) };
}

export interface Saying {
  stream: number;
  bridge: number;
  isSlow: boolean;
  lag: number | null;
  missed: number;
  fallbacks: number;
  probeMs: number | null;
  unfenced: number;
}

const healthy: Saying = {
  stream: 500,
  bridge: 500,
  isSlow: false,
  lag: 0,
  missed: 0,
  fallbacks: 0,
  probeMs: 300,
  unfenced: 0,
};

export function viewOf(saying: Partial<Saying>): ReplicaView {
  const { stream, bridge, isSlow, lag, missed, fallbacks, probeMs, unfenced } = { ...healthy, ...saying };
  return {
    nowMs: 0,
    draining: false,
    clients: 1,
    hubs: {},
    rooms: 1,
    lag,
    probeMs,
    unfenced,
    bridges: [],
    onlyAtBridge: [],
    lanes: { windowMs: 10_000, bridge: laneOf(bridge), stream: laneOf(stream, isSlow), fallbacks, missed },
  };
}

export function seenOf(instance: string, saying: Partial<Saying> | undefined): Seen {
  return {
    instance,
    facts: {},
    view: saying === undefined ? undefined : viewOf(saying),
    heardMs: 0,
    offsetMs: 0,
  };
}

/** What the test changes while replicas run. */
export interface Stand {
  clock: TestClock;
  values: Map<string, { value: string; until: number }>;
  state: CutoverState;
  logAnswers: boolean;
  /** Where it answers at all. */
  takesWrites: boolean;
  /** The log answers again, and takes at last what was written while it did not. */
  letLogCatchUp(): void;
  outage: Outage['status'];
  /** Why the guard refuses to raise; empty: it does not. */
  refusal: string;
  /** What a raise waits for before it is made: the guard's readings. */
  beforeRaise(): Promise<void>;
  /** What others do before a raise that was made is read. */
  afterRaise(): void;
  /** What happens while the replicas are asked how they are. */
  whileLooking(): Promise<void>;
  /** undefined: it does not answer. */
  says: Map<string, Partial<Saying> | undefined>;
  rollbacks: string[];
  /** Somebody changes the state. */
  by(who: string, what: string, change: Difference): void;
  /** One that has run for a moment. */
  replica(instance: string): Promise<Plans>;
  /** Lets that many seconds pass. */
  pass(seconds: number): Promise<void>;
}

export function setUp(): Stand {
  const clock = new TestClock();
  const late: (() => void)[] = [];
  const stand: Stand = {
    clock,
    values: new Map(),
    state: { ...initialState, epoch: 7 },
    logAnswers: true,
    takesWrites: true,
    letLogCatchUp() {
      stand.logAnswers = true;
      stand.takesWrites = true;
      for (const write of late.splice(0)) write();
    },
    outage: null,
    refusal: '',
    beforeRaise: async () => {},
    afterRaise() {},
    whileLooking: async () => {},
    says: new Map([['a', {}]]),
    rollbacks: [],
    by(who, what, change) {
      stand.state = nextState(stand.state, change, { who, what, nowMs: clock.now() });
    },
    async replica(instance) {
      const plans = new Plans({ ...partsOf(stand, late), instance, clock, logger: silentLogger });
      await stand.pass(3);
      return plans;
    },
    async pass(seconds) {
      for (let second = 0; second < seconds; second++) {
        clock.advance(1_000);
        for (let turn = 0; turn < 20; turn++) await nextTurn();
      }
    },
  };
  return stand;
}

function partsOf(stand: Stand, late: (() => void)[]) {
  const answering = <Answer>(answer: () => Answer, answers = stand.logAnswers): Promise<Answer> =>
    answers ? Promise.resolve().then(answer) : Promise.reject(new CrossfadeError('LOG_UNAVAILABLE', 'the log is away'));
  const shared = (key: string) => {
    const found = stand.values.get(key);
    return found !== undefined && found.until > stand.clock.monotonic() ? found.value : undefined;
  };
  const log = {
    shared: (key: string) => answering(() => shared(key)),
    swap(key: string, from: string | undefined, to: string, ttlMs: number) {
      const write = () => {
        if (shared(key) !== from) return false;
        stand.values.set(key, { value: to, until: stand.clock.monotonic() + ttlMs });
        return true;
      };
      const answers = stand.logAnswers && stand.takesWrites;
      if (!answers) late.push(write);
      return answering(write, answers);
    },
  };
  const roomLanes = {
    standalone: false,
    get state() {
      return stand.state;
    },
  } as RoomLanes;
  const operator = {
    async set({ percent }, { who, why, ifEpoch }) {
      await stand.beforeRaise();
      if (stand.refusal !== '') throw new CrossfadeError('CUTOVER_GUARD', stand.refusal);
      if (stand.state.epoch !== ifEpoch) throw new CrossfadeError('CUTOVER_CONFLICT', 'others were faster');
      if (stand.state.percent === percent) return;
      const by = { who, what: `set ${percent}`, why, nowMs: stand.clock.now() };
      stand.state = nextState(stand.state, { percent: percent! }, by);
      stand.afterRaise();
    },
    async note(what, { who, why }) {
      stand.state = nextState(stand.state, {}, { who, what, why, nowMs: stand.clock.now() });
    },
  } satisfies Pick<Operator, 'set' | 'note'>;
  const rollback = {
    async rollBack({ who, why }) {
      stand.rollbacks.push(why!);
      stand.state = nextState(stand.state, rolledBack, { who, what: 'rollback', why, nowMs: stand.clock.now() });
      return { kept: stand.logAnswers ? 'in order' : 'at once', reached: [], notReached: [] };
    },
  } satisfies Pick<Rollback, 'rollBack'>;
  const survey = {
    async look() {
      await stand.whileLooking();
      return [...stand.says].map(([instance, saying]) => seenOf(instance, saying));
    },
  };
  const outage = {
    get status() {
      return stand.outage;
    },
  };
  return { log, roomLanes, operator, rollback, survey, outage };
}
