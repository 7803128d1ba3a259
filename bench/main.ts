// `npm run bench`: crossfade beside what a team would pick instead, on this machine. In come the choice of systems and workloads and how
// often; out goes a table, and with --write docs/benchmarks/. Systems take turns within a round, so that a slow minute hits all of them;
// what is told is the median of the rounds. Needs Redis; the bridge needs the .NET SDK, Nchan Debian's nginx and libnginx-mod-nchan.

import { parseArgs } from 'node:util';
import { ProgressBar } from '../src/bench/progress.ts';
import { type Cleanups, contextOf, end } from './cleanups.ts';
import { measure, type Sample } from './measure.ts';
import { installModules } from './modules.ts';
import { writePages } from './pages.ts';
import { type Result, resultOf, tableText } from './report.ts';
import { type System, systems, type UnderLoad } from './systems.ts';
import { type Workload, workloads } from './workloads.ts';

const { values } = parseArgs({
  options: {
    systems: { type: 'string', default: systems.map(({ name }) => name).join(';') },
    workloads: { type: 'string', default: workloads.map(({ name }) => name).join(';') },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    write: { type: 'boolean', default: false },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const chosen = { systems: chosenOf(systems, values.systems), workloads: chosenOf(workloads, values.workloads) };
const bar = new ProgressBar();
const cleanups: Cleanups = [];
const context = contextOf(cleanups);

installModules();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => end(cleanups).finally(() => process.exit(1)));
}
try {
  const runnable = chosen.systems.filter(({ name, missing }) => {
    if (missing) console.error(`${name} is left out: ${missing}`);
    return !missing;
  });
  const results = await measureAll(runnable, chosen.workloads);
  bar.clear();
  console.log(tableText(results));
} finally {
  await end(cleanups);
}
process.exit();

async function measureAll(chosenSystems: System[], chosenWorkloads: Workload[]): Promise<Result[]> {
  const running = new Map<System, UnderLoad>();
  const results: Result[] = [];
  for (const workload of chosenWorkloads) {
    const samples = new Map<System, Sample[]>(chosenSystems.map((system) => [system, []]));
    for (let round = 0; round < (workload.isIdle ? 1 : rounds); round++) {
      for (const system of round % 2 === 0 ? chosenSystems : chosenSystems.toReversed()) {
        if (workload.isIdle && system.isDeaf) continue;
        bar.show(`${workload.title}: ${system.name}, round ${round + 1}`, round / rounds);
        samples.get(system)!.push(await measureOnce(running, system, workload));
      }
    }
    for (const [system, taken] of samples) {
      const names = { workload: workload.name, system: system.name, rounds: taken.length, seconds };
      if (taken.length > 0) results.push(resultOf(names, taken));
    }
    // Each as it is done: a system that breaks down under a later one takes nothing with it.
    if (values.write) writePages(results);
  }
  return results;
}

/** Memory is measured of processes that have done nothing else. */
async function measureOnce(running: Map<System, UnderLoad>, system: System, workload: Workload): Promise<Sample> {
  if (workload.isIdle) {
    const ownCleanups: Cleanups = [];
    try {
      return await measure(system, await system.start(contextOf(ownCleanups)), workload, seconds);
    } finally {
      await end(ownCleanups);
    }
  }
  const underLoad = running.get(system) ?? (await system.start(context));
  running.set(system, underLoad);
  return measure(system, underLoad, workload, seconds);
}

function chosenOf<Named extends { name: string }>(all: Named[], names: string): Named[] {
  return names.split(';').map((name) => {
    const found = all.find((each) => each.name === name);
    if (found === undefined) throw new Error(`there is no '${name}', only ${all.map((each) => each.name).join('; ')}`);
    return found;
  });
}
