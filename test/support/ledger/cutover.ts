// The operator of the ledger: in go changes of the cutover, by the admin HTTP of one replica, out come answers.
// Promises that what was asked for is also in effect when a step is done, so that no run passes with the percent held.

import assert from 'node:assert/strict';
import { until } from '../wait.ts';
import type { Step } from './walk.ts';

export interface Change {
  percent?: number;
  pins?: Record<string, 'stream' | 'bridge' | null>;
  mirror?: boolean;
  hubs?: Record<string, 'native' | 'proxy'>;
  /** Whatever the guard says. */
  force?: boolean;
}

/** The part of `GET /cutover` that the ledger reads. */
export interface CutoverState {
  epoch: number;
  percent: number;
  effective: { percent: number; why?: string };
  pins: Record<string, string>;
  hubs: Record<string, { at: string; native: number; proxied: number }>;
}

/** The guard's three readings, and what a busy machine adds. */
const answerTimeoutMs = 20_000;

export class Operator {
  readonly #admin: string;
  /** Changes that were refused at first, and why. */
  readonly refusals: string[] = [];
  /** A rollback was made at once, as the log did not take it in time: what it put out of order is counted. */
  rolledBackAtOnce = false;

  /** @param admin such as `http://127.0.0.1:7402` */
  constructor(admin: string) {
    this.#admin = admin;
  }

  /** A refusal by the guard, or because the log is away, is asked again until it is over. */
  async change(change: Change): Promise<void> {
    const refusals: string[] = [];
    await until(
      async () => {
        const response = await this.#send('PUT', '/cutover', { ...change, by: 'ledger' });
        if (response.ok) return true;
        const refusal = `${JSON.stringify(change)}: ${response.status} ${await response.text()}`;
        if (refusal !== refusals.at(-1)) refusals.push(refusal);
        return false;
      },
      { timeoutMs: answerTimeoutMs, what: () => `a change to be taken, ${refusals.join('; ')}` },
    );
    this.refusals.push(...refusals);
    if (change.percent === undefined) return;
    const { percent, effective } = await this.read();
    assert.equal(percent, change.percent);
    assert.equal(
      effective.percent,
      change.percent,
      `${change.percent} is held at ${effective.percent}: ${effective.why}`,
    );
  }

  /** All of them, past the guard. Resolves when nobody is where his hub is not any more. */
  async moveHubs(kind: 'native' | 'proxy'): Promise<void> {
    const { hubs } = await this.read();
    await this.change({ hubs: Object.fromEntries(Object.keys(hubs).map((hub) => [hub, kind])), force: true });
    const isDone = async () =>
      Object.values((await this.read()).hubs).every(
        ({ at, native, proxied }) => at === kind && (kind === 'native' ? proxied : native) === 0,
      );
    await until(isDone, { timeoutMs: answerTimeoutMs, what: `all clients to be at ${kind} hubs` });
  }

  async rollback(): Promise<void> {
    const response = await this.#send('POST', '/cutover/rollback', { by: 'ledger' });
    const answer = (await response.json()) as { kept?: string };
    assert.equal(response.status, 200, JSON.stringify(answer));
    assert.match(String(answer.kept), /^(in order|at once)$/);
    this.rolledBackAtOnce ||= answer.kept === 'at once';
    const { percent, effective, pins } = await this.read();
    assert.deepEqual({ percent, effective: effective.percent, pins }, { percent: 0, effective: 0, pins: {} });
  }

  async read(): Promise<CutoverState> {
    const response = await this.#send('GET', '/cutover');
    return (await response.json()) as CutoverState;
  }

  /** Waits until the replica knows the shared state and follows it. */
  async untilFollowed(): Promise<void> {
    const isFollowed = async () => ((await this.read()) as unknown as { log: { followed: boolean } }).log.followed;
    await until(isFollowed, { timeoutMs: answerTimeoutMs, what: 'the shared state to be followed' });
  }

  set(percent: number): Step {
    return { name: `set ${percent}`, run: () => this.change({ percent }) };
  }

  /** Past the guard, which counts a replica that stands still for nothing. */
  force(percent: number): Step {
    return { name: `force ${percent}`, run: () => this.change({ percent, force: true }) };
  }

  pin(pins: Change['pins']): Step {
    return { name: `pin ${JSON.stringify(pins)}`, run: () => this.change({ pins: pins! }) };
  }

  rollBack(): Step {
    return { name: 'rollback', run: () => this.rollback() };
  }

  #send(method: string, path: string, body?: object): Promise<Response> {
    const headers = { 'content-type': 'application/json' };
    return fetch(this.#admin + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }
}
