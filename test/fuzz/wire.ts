// Rude clients: in comes what to send on a socket of its own, in which pieces and how to leave; out goes what came back.
// Promises to end soon, whatever the server does, and to leave nothing open.

import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Exchange {
  /** latin1, sent one after the other. */
  pieces: string[];
  /** Between two pieces. */
  pauseMs: number;
  /**
   * `wait`: reads until the server has been silent for a while. `patient`: ... until it closes, or for 12 s. `fin`: says that
   * nothing more comes, and reads on. `deaf`: never reads. `reset`: tears the connection down at once.
   */
  leave: 'wait' | 'patient' | 'fin' | 'deaf' | 'reset';
}

const silenceMs = 60;
const longestMs = 1_500;
const patienceMs = 12_000;
const keptBytes = 256 * 1024;

/** @returns what came back (latin1, the first 256 KiB); '' where nothing did. Never rejects. */
export async function exchange(port: number, { pieces, pauseMs, leave }: Exchange): Promise<string> {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let reply = '';
  let lastHeard = performance.now();
  socket.on('error', () => {});
  if (leave !== 'deaf') {
    socket.setEncoding('latin1').on('data', (text) => {
      lastHeard = performance.now();
      if (reply.length < keptBytes) reply += text;
    });
  }
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece, 'latin1');
    if (pauseMs > 0) await Promise.race([sleep(pauseMs), closed]);
  }
  if (leave === 'fin') socket.end();
  const begun = performance.now();
  lastHeard = begun;
  const isDone = (at: number) => {
    if (socket.destroyed || leave === 'reset') return true;
    if (leave === 'patient') return at - begun > patienceMs;
    return at - lastHeard > silenceMs || at - begun > longestMs;
  };
  while (!isDone(performance.now())) await Promise.race([sleep(5), closed]);
  if (leave === 'reset') {
    // What was written is given to the system first, else the server would never see it.
    await Promise.race([sleep(1), closed]);
    socket.resetAndDestroy();
  }
  socket.destroy();
  await closed;
  return reply;
}
