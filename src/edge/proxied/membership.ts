// Which groups one connection is in, by the bridge's word: in come the client's invocations and the bridge's records,
// out go joins and leaves. Promises: where the contract names a confirmation, that confirmation alone, with the same
// arguments, joins or leaves; the groups of the connect count from the first record that proves that it has ended.

import type { CallerEffect, Effect, Hub, HubMethod, JoinEffect, LeaveEffect, Values } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Member } from '../audience.ts';
import type { ClientBudget } from '../budget.ts';
import type { Groups } from '../groups.ts';
import type { TappedRecord } from '../hub-protocol/json.ts';
import type { Codec } from './codec.ts';
import { comparable } from './comparable.ts';
import { MethodNames } from './method-names.ts';

/** Enough for a client that joins all its rooms again after a reconnect; more wait only where the hub refuses all of them in silence. */
const maxPending = 5_000;

/** An invocation that is not over yet. */
interface Pending {
  invocationId: string | undefined;
  /** undefined: it changes nothing. */
  method: HubMethod | undefined;
  /** The joins and leaves that happen once the hub confirms it; empty for an invocation that is kept only for its place in the order. */
  changes: (JoinEffect | LeaveEffect)[];
  values: Values;
  /** undefined: a completion without an error confirms it. */
  confirmation: Confirmation | undefined;
}

/** One stay in a group: a connection that leaves and joins again is a member by another Join. */
export interface Join {
  /** ms, monotonic */
  readonly since: number;
}

interface Confirmation {
  method: string;
  args: string;
}

export interface MembershipOptions {
  hub: Hub;
  /** undefined: not known; the groups that are named by it are not joined then. */
  user: string | undefined;
  member: Member;
  groups: Groups;
  codec: Codec;
  budget: ClientBudget;
  /** The bridge has confirmed what this method joins or leaves. */
  onConfirmed(method: HubMethod, values: Values): void;
  clock: Pick<Clock, 'monotonic'>;
}

export class Membership {
  readonly #options: MembershipOptions;
  readonly #joined = new Map<string, Join>();
  /** Group -> what its others are told when the connection ends while it is a member. */
  readonly #farewells = new Map<string, () => Event>();
  readonly #connectValues: Values;
  readonly #connectJoins: JoinEffect[];
  readonly #connectConfirmation: Confirmation | undefined;
  /** In the order in which the hub handles them: one after the other. */
  #pending: Pending[] = [];
  #connectProven: boolean;
  /** When it last joined or left a group, ms monotonic. */
  changedAt = Number.NEGATIVE_INFINITY;

  constructor(options: MembershipOptions) {
    const { hub, user } = options;
    this.#options = options;
    this.#connectValues = new Map(user === undefined ? [] : [['sub', JSON.stringify(user)]]);
    this.#connectJoins = hub.connect.filter((effect) => effect.kind === 'join').filter((join) => this.#isKnown(join));
    this.#connectConfirmation = confirmationOf(hub.connect, this.#connectValues);
    this.#connectProven = this.#connectJoins.length === 0;
  }

  /** Whether the hub's connect has ended, or nothing depends on it. */
  get connectProven(): boolean {
    return this.#connectProven;
  }

  /** Whether the bridge has let it into a group: it knows the client, and does not refuse it. */
  get isConfirmed(): boolean {
    return this.#connectProven && this.#joined.size > 0;
  }

  /** The join by which the connection is in this group now; another one after it has left and come back. */
  joinOf(group: string): Join | undefined {
    return this.#joined.get(group);
  }

  /** A group in which others wait for the end of this connection, such as a remote session. */
  get session(): string | undefined {
    return this.#farewells.keys().next().value;
  }

  /** What the others are told if the connection ends now. */
  get farewells(): Event[] {
    return Array.from(this.#farewells.values(), (farewell) => farewell());
  }

  /** Those that it is in. */
  get groups(): Iterable<string> {
    return this.#joined.keys();
  }

  /** A record of the client, before it goes on. Error: OverBudget. */
  fromClient(record: Buffer): void {
    if (this.#pending.length === 0 && !changingMethods.mayBeIn(this.#options.hub, record)) return;
    const read = this.#options.codec.readRecord(record);
    if (read?.target === undefined) return;
    const pending = this.#pendingOf(read);
    // Behind a pending one every invocation counts: its completion proves that the earlier one is over.
    if (pending.changes.length === 0 && (this.#pending.length === 0 || pending.invocationId === undefined)) return;
    this.#pending.push(pending);
    if (this.#pending.length > maxPending) this.#pending.shift();
  }

  /** Whether a message of the bridge may hold a word about this connection's groups. */
  mayBeIn(message: Buffer): boolean {
    if (this.#pending.length === 0 && this.#connectProven) return false;
    const { completionMark } = this.#options.codec;
    if (completionMark === undefined || message.includes(completionMark)) return true;
    return confirmingMethods(this.#options.hub).some((method) => message.includes(method));
  }

  /** A record of the bridge, before it goes on. Error: OverBudget. */
  fromBridge(record: TappedRecord): void {
    if (record.type === 3) this.#completed(record.invocationId, record.failed === true);
    else if (record.type === 1 && record.target !== undefined) this.#told(record.target, comparable(record.args));
  }

  /** A record of the bridge has proven that the hub's connect has ended. */
  proveConnect(): void {
    if (this.#connectProven) return;
    this.#connectProven = true;
    this.joinOnConnectGroups();
  }

  /** Also called before the proof, by a connection whose messages wait until then. */
  joinOnConnectGroups(): void {
    this.#apply(this.#connectJoins, this.#connectValues);
  }

  leaveAll(): void {
    const { hub, groups, member } = this.#options;
    for (const group of this.#joined.keys()) groups.leave(hub.name, group, member);
    this.#joined.clear();
    this.#farewells.clear();
    this.#pending = [];
  }

  #told(method: string, args: string): void {
    const tells = (confirmation: Confirmation | undefined) =>
      confirmation?.method === method && confirmation.args === args;
    if (!this.#connectProven && tells(this.#connectConfirmation)) this.proveConnect();
    const confirmed = this.#pending.find(({ confirmation }) => tells(confirmation));
    if (confirmed === undefined) return;
    // No method runs before the connect has ended.
    this.proveConnect();
    this.#pending = this.#pending.filter((other) => other !== confirmed);
    this.#confirm(confirmed);
  }

  #confirm({ method, changes, values }: Pending): void {
    this.#apply(changes, values);
    const { user, onConfirmed } = this.#options;
    if (method !== undefined && user !== undefined) onConfirmed(method, values);
  }

  /** The hub works serially: what came before a completed invocation is over, confirmed or not. */
  #completed(invocationId: string | undefined, failed: boolean): void {
    this.proveConnect();
    const index = this.#pending.findIndex((pending) => pending.invocationId === invocationId);
    if (invocationId === undefined || index === -1) return;
    const pending = this.#pending[index]!;
    this.#pending = this.#pending.slice(index + 1);
    if (pending.confirmation === undefined && !failed) this.#confirm(pending);
  }

  #pendingOf({ invocationId, target, args }: TappedRecord & { target: string }): Pending {
    const method = this.#options.hub.method(target);
    const values = method && this.#bind(method, args);
    if (method === undefined || values === undefined || method.ignores(values)) {
      return { invocationId, method: undefined, changes: [], values: new Map(), confirmation: undefined };
    }
    const changes = method.effects.filter((effect) => effect.kind === 'join' || effect.kind === 'leave');
    if (changes.length > 0) this.#options.budget.allowName(method.longestName(values));
    const confirmation = confirmationOf(method.effects, values);
    return { invocationId, method: changes.length > 0 ? method : undefined, changes, values, confirmation };
  }

  #bind(method: HubMethod, args: unknown[]): Values | undefined {
    const values = method.bind(args.map((arg) => JSON.stringify(arg) ?? 'null'));
    return values && new Map([...values, ...this.#connectValues]);
  }

  #apply(changes: (JoinEffect | LeaveEffect)[], values: Values): void {
    const { hub, user, groups, member, budget } = this.#options;
    for (const change of changes) {
      if (!this.#isKnown(change, values)) continue;
      const group = change.group(values);
      this.changedAt = this.#options.clock.monotonic();
      if (change.kind === 'join') {
        if (!this.#joined.has(group)) {
          budget.allowRooms(this.#joined.size + 1);
          this.#joined.set(group, { since: this.#options.clock.monotonic() });
        }
        const { farewell } = change;
        if (farewell !== undefined && user !== undefined)
          this.#farewells.set(group, () => farewell.toEvent(values, ''));
        groups.join(hub.name, group, member);
      } else {
        this.#joined.delete(group);
        this.#farewells.delete(group);
        groups.leave(hub.name, group, member);
      }
    }
  }

  /** Whether the group's name is known: a name that the user is part of is not, while the user is unknown. */
  #isKnown(change: JoinEffect | LeaveEffect, values: Values = this.#connectValues): boolean {
    if (this.#options.user !== undefined) return true;
    const groupOf = (user: string) => change.group(new Map([...values, ['sub', JSON.stringify(user)]]));
    return groupOf('a') === groupOf('b');
  }
}

function confirmationOf(effects: Effect[], values: Values): Confirmation | undefined {
  const caller = effects.find((effect): effect is CallerEffect => effect.kind === 'caller');
  if (caller === undefined) return undefined;
  const args = caller.arguments(values).map((raw) => JSON.parse(raw));
  return { method: caller.method, args: comparable(args) };
}

const confirmations = new WeakMap<Hub, string[]>();

/** What the hub tells its callers at all; a few names, however many invocations are pending. */
function confirmingMethods(hub: Hub): string[] {
  let methods = confirmations.get(hub);
  if (methods === undefined) {
    const effects = [hub.connect, ...hub.methods.map((method) => method.effects)].flat();
    methods = effects.filter((effect) => effect.kind === 'caller').map(({ method }) => method);
    confirmations.set(hub, methods);
  }
  return methods;
}

const changingMethods = new MethodNames(({ kind }) => kind === 'join' || kind === 'leave');
