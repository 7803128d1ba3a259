// The backend's side of the load generator, in its own process (see backend.ts). In come lines of JSON: once how the system is called,
// then a load at a time; out go lines of JSON: how each call was answered and when, and that the last one of a load was sent.
// Promises: calls are made at their times whatever the system does (open-loop.ts).

import { createInterface } from 'node:readline';
import type { Load, LoadAnswer, ToLoadBackend } from './backend.ts';
import { LatencyHistogram } from './ledger.ts';
import { openLoop } from './open-loop.ts';
import { LoadPublisher } from './publisher.ts';
import { noteOf, typingEveryMs } from './typing.ts';
import { callWriter, type LoadCall } from './wire.ts';

/** ToldTogether are told together: a line for each would cost more than the calls. */
const tellEveryMs = 10;

/** Runs until stdin ends. */
export async function playBackend(): Promise<void> {
  // Nobody counts any more: a generator that was killed must not go on by half.
  process.stdin.once('end', () => process.exit());
  const lines = createInterface({ input: process.stdin });
  let publisher: LoadPublisher | undefined;
  for await (const line of lines) {
    const { target, load } = JSON.parse(line) as ToLoadBackend;
    if (target !== undefined) publisher = new LoadPublisher(target, target.senders);
    if (load !== undefined) await play(load, publisher!);
  }
}

async function play(load: Load, publisher: LoadPublisher): Promise<void> {
  const { rate, seconds } = load;
  const answers = new ToldTogether();
  const lateness = new LatencyHistogram();
  const before = process.cpuUsage();
  let sent = 0;
  const send: Send = (answer, call) => {
    sent++;
    publisher.send(call, (outcome, answeredAt) => answers.add({ ...answer, outcome, answeredAt }));
  };
  const sendMessage = messagesOf(load, send);
  const sendNote = notesOf(load, send);
  const messages = openLoop({ rate, seconds, act: sendMessage, lateness });
  const notes = sendNote && openLoop({ rate: (load.typists * 1_000) / typingEveryMs, seconds, act: sendNote });
  await Promise.all([messages, notes]);
  const { user, system } = process.cpuUsage(before);
  sayToParent({ allSent: { sent, lateMs: lateness.percentiles(), cpuMs: (user + system) / 1_000 } });
}

type Send = (answer: Pick<LoadAnswer, 'kind' | 'n' | 'from' | 'sentAt'>, call: LoadCall) => void;

function messagesOf({ message, rooms, firstIndex, ids }: Load, send: Send) {
  const callOf = callWriter(message);
  return (n: number, from: number, sentAt: number) => {
    const call = callOf({ room: rooms[n % rooms.length]!, index: firstIndex + n, id: idOf(ids, 'a', n) });
    send({ kind: 'message', n, from, sentAt }, call);
  };
}

function notesOf({ typing, typists, rooms, ids }: Load, send: Send) {
  if (typing === undefined || typists === 0) return undefined;
  const callOf = callWriter(typing);
  return (n: number, from: number, sentAt: number) => {
    const { typist, isTyping } = noteOf(n, typists);
    const call = callOf({ room: rooms[typist % rooms.length]!, typist, isTyping, id: idOf(ids, 'b', n) });
    send({ kind: 'typing', n, from, sentAt }, call);
  };
}

/** UUIDs of this load. */
function idOf(ids: string, kind: 'a' | 'b', n: number): string {
  return `${ids}${kind}${String(n).padStart(11, '0')}`;
}

/** Answers on their way to the parent. */
class ToldTogether {
  #waiting: LoadAnswer[] = [];

  add(answer: LoadAnswer): void {
    if (this.#waiting.length === 0) setTimeout(() => this.#tell(), tellEveryMs);
    this.#waiting.push(answer);
  }

  #tell(): void {
    sayToParent({ answers: this.#waiting });
    this.#waiting = [];
  }
}

function sayToParent(words: object): void {
  process.stdout.write(`${JSON.stringify(words)}\n`);
}
