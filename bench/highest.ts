// `npm run bench:highest`: how many messages a second a system sustains, 100 clients in 50 rooms. In come the systems; out goes, for each, the
// highest rate at which nothing is lost and P99 end to end stays under 100 ms for 30 s. Rates are tried in steps of 250, for 5 s each while
// they grow, and once more where they fail: one hiccup of the machine is no limit of the system. The generator's two processes, the system
// and its Redis share the machine: give it cores enough, or compare within one run only.

import { parseArgs } from 'node:util';
import { Crowd, evenly, type Measured } from '../src/bench/crowd.ts';
import { ProgressBar } from '../src/bench/progress.ts';
import { type Cleanups, contextOf, end } from './cleanups.ts';
import { program, senders, warmUpSeconds } from './measure.ts';
import { installModules } from './modules.ts';
import { type System, systems } from './systems.ts';

const step = 250;
const mostMs = 100;
const trySeconds = 5;
const holdSeconds = 30;

const { values } = parseArgs({
  options: { systems: { type: 'string', default: 'crossfade native;crossfade native, embedded;socket.io;bridge' } },
});
installModules();
const bar = new ProgressBar();
for (const name of values.systems.split(';')) {
  const system = systems.find((each) => each.name === name);
  if (system === undefined || system.missing)
    throw new Error(`${name}: ${system?.missing ?? 'there is no such system'}`);
  const highest = await highestOf(system);
  bar.clear();
  console.log(`${name}: ${highest} messages a second`);
}
process.exit();

async function highestOf(system: System): Promise<number> {
  const cleanups: Cleanups = [];
  const { wire } = await system.start(contextOf(cleanups));
  const crowd = await Crowd.open({ wire, members: evenly(100, 50), senders, program });
  const sustains = async (rate: number, seconds: number) => {
    bar.show(`${system.name}: ${rate} a second for ${seconds} s`, 0);
    return isFine(await crowd.run({ rate, seconds })) || isFine(await crowd.run({ rate, seconds }));
  };
  try {
    await crowd.run({ rate: step, seconds: warmUpSeconds });
    let rate = step;
    while (await sustains(rate + step, trySeconds)) rate += step;
    while (rate > 0 && !(await sustains(rate, holdSeconds))) rate -= step;
    return rate;
  } finally {
    await crowd.close();
    await end(cleanups);
  }
}

function isFine({ calls, deliveries, endToEndMs }: Measured): boolean {
  const isWhole = calls.accepted === calls.sent && deliveries.lost === 0;
  return isWhole && endToEndMs !== undefined && endToEndMs.p99 < mostMs;
}
