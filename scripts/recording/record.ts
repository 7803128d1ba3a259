// Makes docs/cutover.svg anew: a running system (Redis, an ASP.NET Core bridge, two replicas, 60 clients in 20 rooms), an
// operator's terminal beside it, and `crossfade cutover` in that. Everything shown is what the terminal really showed.
// Needs tmux, redis-server and port 7402; without the .NET SDK the toy bridge stands in. Run: node scripts/recording/record.ts

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { startSidecar } from '../../test/e2e/sidecar.ts';
import { startBridge } from '../../test/support/bridge.ts';
import { startRedis } from '../../test/support/redis.ts';
import { noDotnet, startReferenceBridge } from '../../test/support/reference-bridge.ts';
import { until } from '../../test/support/wait.ts';
import { type Frame, svg } from './svg.ts';
import { Terminal } from './terminal.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const columns = 104;
const upperRows = 7;
const lowerRows = 22;
const frameMs = 100;
const keyMs = 45;

const cleanups: (() => unknown)[] = [];
const context = { after: (run: () => unknown) => cleanups.unshift(run) } as unknown as TestContext;

try {
  const redis = await startRedis(context);
  const bridge = noDotnet ? await startBridge(context) : await startReferenceBridge(context);
  const flags = ['--redis', redis.url, '--bridge', bridge.url];
  const one = await startSidecar(context, [...flags, '--instance', 'one', '--admin', '127.0.0.1:7402']);
  const two = await startSidecar(context, [...flags, '--instance', 'two']);
  const replicas = [one, two].map(({ listen, edge, admin }) => ({ listen, edge, admin }));

  const binDir = mkdtempSync(join(tmpdir(), 'crossfade-recording-'));
  cleanups.unshift(() => rmSync(binDir, { recursive: true }));
  const launcher = `#!/bin/sh\nexec ${process.execPath} ${root}bin/crossfade.mjs "$@"\n`;
  writeFileSync(join(binDir, 'crossfade'), launcher, { mode: 0o755 });
  const upper = [process.execPath, `${root}scripts/recording/clients.ts`, JSON.stringify(replicas)];
  const terminal = new Terminal({ columns, upperRows, lowerRows, upper, binDir });
  cleanups.unshift(() => terminal.close());
  const isAtWork = () => terminal.screen().upper.filter((line) => /^\d\d:/.test(line.trim())).length > 2;
  await until(isAtWork, { what: () => terminal.screen().upper.join('\n'), timeoutMs: 60_000 });

  const recording = record(terminal);
  await operate(terminal);
  const frames = await recording.end();
  const title = `60 clients on two replicas, ${noDotnet ? 'the toy' : 'an ASP.NET Core'} bridge behind them: crossfade cutover`;
  writeFileSync(`${root}docs/cutover.svg`, svg({ title, columns, frames, restMs: 6_000 }));
} finally {
  for (const run of cleanups) await run();
}

async function operate(terminal: Terminal): Promise<void> {
  await sleep(1_500);
  for (const command of ['crossfade cutover set 25', 'crossfade cutover rollback']) {
    for (const key of command) {
      terminal.type(key);
      await sleep(keyMs);
    }
    terminal.type('Enter');
    const what = () => terminal.screen().lower.join('\n');
    await until(() => waitsForCommand(terminal.screen().lower), { what, timeoutMs: 20_000 });
    await sleep(3_500);
  }
}

function waitsForCommand(lines: string[]): boolean {
  const written = lines.map((line) => stripVTControlCharacters(line).trim()).filter((line) => line !== '');
  return written.at(-1) === '$';
}

/** Looks at the terminal until end(). */
function record(terminal: Terminal): { end(): Promise<Frame[]> } {
  const frames: Frame[] = [];
  const startedAt = Date.now();
  let ended = false;
  const looking = (async () => {
    while (!ended) {
      const { upper, lower } = terminal.screen();
      frames.push({ at: frames.length === 0 ? 0 : Date.now() - startedAt, rows: [...upper, '', ...lower] });
      await sleep(frameMs);
    }
  })();
  return {
    async end() {
      ended = true;
      await looking;
      return frames;
    },
  };
}
