// The backend of the load generator, seen from the clients' side: in come a load and who hears of its answers, out go calls that a process
// of its own makes. It has its own because the reading of a thousand clients would else stand between an answer and its time.
// Promises: the process ends with close(), or with this one.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { CrossfadeError } from '../errors.ts';
import type { Percentiles } from './ledger.ts';
import type { CallTemplate, Wire } from './wire.ts';

/** What it says for some time. */
export interface Load {
  /** Messages a second, over the rooms in turn. */
  rate: number;
  seconds: number;
  rooms: string[];
  message: CallTemplate;
  /** The number of the first message. */
  firstIndex: number;
  /** What the ids of its events begin with: 24 characters of a UUID. */
  ids: string;
  typing: CallTemplate | undefined;
  typists: number;
}

/** How one call went; times by {@link sharedNow}. */
export interface LoadAnswer {
  kind: 'message' | 'typing';
  /** Of its kind, from 0. */
  n: number;
  /** From when its latency counts. */
  from: number;
  sentAt: number;
  answeredAt: number;
  /** The status, or the code of the error. */
  outcome: number | string;
}

export interface AllSent {
  /** Calls of both kinds. */
  sent: number;
  /** ms by which messages were sent later than they should have been. */
  lateMs: Percentiles | undefined;
  /** ms of CPU that sending took. */
  cpuMs: number;
}

export interface ToLoadBackend {
  target?: Pick<Wire, 'origin' | 'headers'> & { senders: number };
  load?: Load;
}

interface FromLoadBackend {
  answers?: LoadAnswer[];
  allSent?: AllSent;
}

export interface LoadBackendOptions {
  wire: Pick<Wire, 'origin' | 'headers'>;
  /** How many calls may be under way at a time. */
  senders: number;
  /** How a crossfade is called: program and arguments. */
  program: string[];
}

export class LoadBackend {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #onAnswer: (answer: LoadAnswer) => void = () => {};
  #allSent: PromiseWithResolvers<AllSent> | undefined;
  #isClosed = false;

  constructor({ wire: { origin, headers }, senders, program: [command, ...args] }: LoadBackendOptions) {
    this.#child = spawn(command!, [...args, 'bench-backend'], { stdio: ['pipe', 'pipe', 'inherit'] });
    // Whoever waits for it is told by its end.
    this.#child.stdin.on('error', () => {});
    this.#child.once('error', () => this.#end());
    this.#child.once('exit', () => this.#end());
    createInterface({ input: this.#child.stdout }).on('line', (line) =>
      this.#hear(JSON.parse(line) as FromLoadBackend),
    );
    this.#tell({ target: { origin, headers, senders } });
  }

  /** One at a time. @returns when everything was sent, which is not yet answered. Errors: BENCH_TARGET (its process has ended) */
  play(load: Load, onAnswer: (answer: LoadAnswer) => void): Promise<AllSent> {
    this.#onAnswer = onAnswer;
    this.#allSent = Promise.withResolvers();
    if (this.#isClosed) this.#end();
    else this.#tell({ load });
    return this.#allSent.promise;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    this.#child.kill();
    await exited;
  }

  #tell(words: ToLoadBackend): void {
    this.#child.stdin.write(`${JSON.stringify(words)}\n`);
  }

  #hear({ answers = [], allSent }: FromLoadBackend): void {
    for (const answer of answers) this.#onAnswer(answer);
    if (allSent !== undefined) this.#allSent?.resolve(allSent);
  }

  #end(): void {
    this.#isClosed = true;
    this.#allSent?.reject(new CrossfadeError('BENCH_TARGET', 'the process that makes the calls has ended'));
  }
}
