// The world that inputs are played in: a real Redis, a real `crossfade serve`, a bridge that has moods, and a bystander, a
// client that wants nothing but its messages. Promises to say what crossfade has suffered, and to bring it back when it has
// died, so that the fuzzer can go on looking for a smaller input.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, say } from '../e2e/operating.ts';
import { join, startSidecar } from '../e2e/sidecar.ts';
import { startBridge, type ToyBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { type Redis, startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { startProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import type { Vitals } from './watch.ts';

export type WorldKind = 'proxied' | 'native';
/** What the bridge does: `down` refuses connections and cuts those there are, `fail` answers 500. */
export type Mood = 'up' | 'down' | 'hang' | 'reset' | 'fail' | 'slow';

const watch = new URL('watch.ts', import.meta.url).href;
const rooms = { stream: 'the bystander’s room by stream', bridge: 'the bystander’s room by bridge' };
const answerMs = 15_000;
const maxFaults = 100;

export class World {
  readonly kind: WorldKind;
  /** Of somebody who may write to crossfade's Redis. */
  readonly redisClient: ReturnType<Redis['client']>;
  readonly #redis: Redis;
  #crossfade: Crossfade | undefined;
  #bystander: HubClient | undefined;
  readonly #bridge: ToyBridge | undefined;
  readonly #proxy: TcpProxy | undefined;
  readonly #place: string;
  /** Undoes what belongs to the crossfade that runs now, and what belongs to the world. */
  readonly #ends = { crossfade: new Cleanups(), world: new Cleanups() };
  #messages = 0;
  #isDying = false;
  #lastLines: string[] = [];
  readonly #cuts: string[] = [];

  private constructor(
    kind: WorldKind,
    parts: { redis: Redis; bridge: ToyBridge | undefined; proxy: TcpProxy | undefined; ends: Cleanups },
  ) {
    this.kind = kind;
    this.#redis = parts.redis;
    this.redisClient = parts.redis.client();
    this.#bridge = parts.bridge;
    this.#proxy = parts.proxy;
    this.#ends.world = parts.ends;
    this.#place = mkdtempSync(joinPath(tmpdir(), 'crossfade-fuzz-'));
  }

  static async start(kind: WorldKind): Promise<World> {
    const ends = new Cleanups();
    const redis = await startRedis(ends.context);
    const bridge = kind === 'proxied' ? await startBridge(ends.context) : undefined;
    const proxy = bridge && (await startProxy(ends.context, Number(new URL(bridge.url).port)));
    const world = new World(kind, { redis, bridge, proxy, ends });
    await world.revive();
    return world;
  }

  get ports(): { listen: number; edge: number; admin: number } {
    const { listen, edge, admin } = this.#running;
    return { listen: portOf(listen), edge: portOf(edge), admin: portOf(admin) };
  }

  /** False from the fault on that it ends by, not only when it has drained. */
  get isAlive(): boolean {
    this.#readLogs();
    return this.#crossfade !== undefined && this.#crossfade.process.exit === undefined && !this.#isDying;
  }

  get pid(): number {
    return this.#running.process.pid;
  }

  /** How crossfade has ended, in its own words. */
  get lastWords(): string {
    const { exit, stderr } = this.#running.process;
    const end = exit === undefined ? 'crossfade is ending' : `crossfade has ended: ${JSON.stringify(exit)}`;
    return `${end}\n${(stderr || this.#lastLines.join('\n')).slice(-3_000)}`;
  }

  /** What was caught at a boundary: no crash, but mostly something that nobody had thought of. How often, by what it was. */
  readonly faults = new Map<string, number>();

  /** Why the bystander was cut off, each time since the last question. */
  takeCuts(): string[] {
    return this.#cuts.splice(0);
  }

  /** Starts crossfade if it does not run, with a bystander in its rooms. */
  async revive(): Promise<void> {
    if (this.isAlive) return;
    await this.#ends.crossfade.run();
    const { context } = this.#ends.crossfade;
    const bridge = this.#proxy === undefined ? [] : ['--bridge', `http://127.0.0.1:${this.#proxy.port}`];
    const env = { NODE_OPTIONS: `--expose-gc --import ${watch}`, FUZZ_WATCH: this.#watchPlace };
    this.#isDying = false;
    this.#crossfade = await startSidecar(context, ['--redis', this.#redis.url, ...bridge], { env });
    if (this.kind === 'proxied') await this.#mixLanes();
    this.#bystander = await this.#standBy(context);
    // The start is not what is measured.
    await this.vitals();
    this.takeCuts();
  }

  /** Half of the rooms by stream, and one of the bystander's rooms on each lane. */
  async #mixLanes(): Promise<void> {
    const pins = { [rooms.stream]: 'stream', [rooms.bridge]: 'bridge' };
    const set = async () => (await command(this.#running, { percent: 50, pins, force: true })).status === 200;
    await until(set, { timeoutMs: answerMs, what: 'the cutover to be set' });
  }

  async #standBy(context: TestContext): Promise<HubClient> {
    const client = await join(context, this.#running.edge, 'chat', 'bystander', { reconnectMs: Array(600).fill(100) });
    const enter = async () => {
      await client.connection.invoke('JoinRoom', rooms.stream);
      await client.connection.invoke('JoinRoom', rooms.bridge);
    };
    client.connection.onreconnecting((error) => this.#cuts.push(error?.message ?? 'without a reason'));
    client.connection.onreconnected(() => enter().catch(() => {}));
    await enter();
    return client;
  }

  async inMood(mood: Mood, run: () => Promise<unknown>): Promise<void> {
    if (this.#bridge !== undefined && this.#proxy !== undefined) {
      const fault = { hang: 'hang', reset: 'reset', fail: { status: 500 } }[mood as string];
      this.#bridge.onCall = fault === undefined ? undefined : () => fault as 'hang';
      this.#bridge.delayMs = mood === 'slow' ? 300 : 0;
      if (mood === 'down') this.#proxy.refuse();
    }
    await run();
    if (this.#bridge !== undefined) Object.assign(this.#bridge, { onCall: undefined, delayMs: 0 });
    this.#proxy?.pass();
    // What has got no answer gets none any more; else the bystander would wait for one.
    if (mood === 'hang') this.#proxy?.cut();
  }

  /** Undefined where crossfade does not answer. @param collect after a garbage collection */
  async vitals({ collect = false } = {}): Promise<Vitals | undefined> {
    const socket = connectSocket(this.#watchPlace);
    const answer = new Promise<Vitals | undefined>((resolve) => {
      socket.once('data', (text) => resolve(JSON.parse(text.toString())));
      socket.once('error', () => resolve(undefined)).once('close', () => resolve(undefined));
    });
    socket.write(collect ? 'collect' : 'now');
    const vitals = await Promise.race([answer, sleep(answerMs, undefined, { ref: false })]);
    socket.destroy();
    // It may just be dying.
    if (vitals === undefined)
      await Promise.race([this.#running.process.exited, sleep(2_000, undefined, { ref: false })]);
    return vitals;
  }

  /** Publishes as the backend does, to the bystander's rooms. @returns what was not as it should be */
  async askBystander(): Promise<string | undefined> {
    const health = await fetch(`${this.#running.admin}/healthz`).catch(() => undefined);
    if (health?.status !== 200) return `/healthz answers ${health?.status}`;
    for (const room of this.kind === 'proxied' ? Object.values(rooms) : [rooms.stream]) {
      let answer = '';
      const isShown = async () => {
        const content = `message ${++this.#messages}`;
        answer = await say(this.#running, room, content).then(
          () => 'it was taken',
          (error) => String(error.message),
        );
        const seen = () => this.#bystander!.of('ReceiveMessage').some(({ args }) => isMessage(args[0], room, content));
        return until(seen, { timeoutMs: 2_000 }).catch(() => false);
      };
      const shown = await until(isShown, { timeoutMs: 2 * answerMs }).catch(() => false);
      if (!shown) {
        const { state } = this.#bystander!.connection;
        return `the bystander (${state}) is not shown a message of ${room}: ${answer}\n${this.#lastLines.join('\n')}`;
      }
    }
    this.#bystander!.received.length = 0;
    return undefined;
  }

  /** Takes its log lines, which would fill this process's memory otherwise, and notes the faults among them. */
  #readLogs(): void {
    if (this.#crossfade === undefined) return;
    const { process } = this.#crossfade;
    const lines = process.stdout.split('\n');
    process.stdout = lines.pop()!;
    for (const line of lines) {
      const { msg, where, err } = line.startsWith('{') ? JSON.parse(line) : {};
      if (msg !== 'a fault was caught at the boundary') continue;
      if (where === 'core') this.#isDying = true;
      const fault = `${where}: ${String(err?.stack).split('\n').slice(0, 6).join(' ')}`;
      if (this.faults.size < maxFaults) this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
    }
    this.#lastLines = [...this.#lastLines, ...lines].slice(-12);
  }

  async close(): Promise<void> {
    await this.#ends.crossfade.run();
    await this.#ends.world.run();
    rmSync(this.#place, { recursive: true, force: true });
  }

  get #running(): Crossfade {
    if (this.#crossfade === undefined) throw new Error('crossfade has not been started');
    return this.#crossfade;
  }

  get #watchPlace(): string {
    return joinPath(this.#place, 'watch');
  }
}

/** What a test context does for the helpers of test/support, beyond tests. */
class Cleanups {
  readonly #runs: (() => unknown)[] = [];
  readonly context = { after: (run: () => unknown) => this.#runs.unshift(run) } as unknown as TestContext;

  async run(): Promise<void> {
    for (const run of this.#runs.splice(0)) await run();
  }
}

/** Others may have written to the room, anything. */
function isMessage(shown: unknown, room: string, content: string): boolean {
  const message = shown as { requestId?: unknown; content?: unknown } | null;
  return message?.requestId === room && message.content === content;
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}
