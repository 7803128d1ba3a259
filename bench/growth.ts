// `npm run bench:growth`: what a delivery costs as a deployment grows, on this machine. In comes what is to grow and how often it is measured;
// out go tables, and with --write a plot each and the tables of docs/performance.md. The points of one table take turns, so that a slow
// minute hits all of them; what is told is the median of the rounds. Needs Redis.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { evenly } from '../src/bench/crowd.ts';
import { ProgressBar } from '../src/bench/progress.ts';
import { type Cleanups, contextOf, end } from './cleanups.ts';
import { measure, type Sample } from './measure.ts';
import { workloadSvg } from './plot-svg.ts';
import { type Result, resultOf } from './report.ts';
import { type Replicas, startReplicas, type UnderLoad } from './systems.ts';
import type { Workload } from './workloads.ts';

interface Point extends Replicas, Pick<Workload, 'members' | 'rate' | 'typists'> {
  label: string;
}

interface Growth {
  name: string;
  title: string;
  points: Point[];
}

const pairs = evenly(100, 50);
const sized = (label: string, rooms: number, size: number, rate: number): Point => ({
  label,
  members: Array(rooms).fill(size) as number[],
  rate,
});

const growths: Growth[] = [
  {
    name: 'room-size',
    title: 'members of a room',
    points: [
      sized('1 member, 50 rooms, 500/s', 50, 1, 500),
      sized('10 members, 20 rooms, 200/s', 20, 10, 200),
      sized('100 members, 5 rooms, 40/s', 5, 100, 40),
      sized('1,000 members, 10/s', 1, 1_000, 10),
      sized('5,000 members, 2/s', 1, 5_000, 2),
    ],
  },
  {
    name: 'rooms',
    title: 'rooms of 2 members, 500 messages a second in all',
    points: [10, 100, 1_000, 2_500].map((rooms) => sized(`${rooms.toLocaleString('en')} rooms`, rooms, 2, 500)),
  },
  {
    name: 'rate',
    title: 'messages a second, 50 rooms of 2 members',
    points: [50, 200, 500, 1_000, 1_500].map((rate) => sized(`${rate.toLocaleString('en')}/s`, 50, 2, rate)),
  },
  {
    name: 'replicas',
    title: 'replicas, 50 rooms of 2 members, 500 messages a second',
    points: [1, 2, 4].map((replicas) => ({
      label: replicas === 1 ? '1 replica' : `${replicas} replicas`,
      members: pairs,
      rate: 500,
      replicas,
    })),
  },
  {
    name: 'transports',
    title: 'transports, 50 rooms of 2 members, 200 messages a second',
    points: (['WebSockets', 'ServerSentEvents', 'LongPolling'] as const).map((transport) => ({
      label: transport,
      members: pairs,
      rate: 200,
      transport,
    })),
  },
  {
    name: 'coalescing',
    title: 'coalescing, 50 rooms of 2 members, 40 users type',
    points: [
      { label: 'on (as it is)', members: pairs, rate: 50, typists: 40 },
      { label: 'off (--no-coalesce)', members: pairs, rate: 50, typists: 40, flags: ['--no-coalesce'] },
    ],
  },
];

const { values } = parseArgs({
  options: {
    of: { type: 'string', default: growths.map(({ name }) => name).join(';') },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    write: { type: 'boolean', default: false },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const docs = fileURLToPath(new URL('../docs/', import.meta.url));
const bar = new ProgressBar();

for (const growth of growths.filter(({ name }) => values.of.split(';').includes(name))) {
  const results = await measureGrowth(growth);
  bar.clear();
  console.log(`${growth.title}\n\n${table(results)}\n`);
  if (values.write) write(growth, results);
}
process.exit();

async function measureGrowth({ name, title, points }: Growth): Promise<Result[]> {
  const cleanups: Cleanups = [];
  try {
    const samples = points.map(() => [] as Sample[]);
    const running = new Map<string, UnderLoad>();
    for (let round = 0; round < rounds; round++) {
      for (const [n, point] of points.entries()) {
        bar.show(`${title}: ${point.label}, round ${round + 1}`, round / rounds);
        const { replicas, transport, flags } = point;
        const key = JSON.stringify({ replicas, transport, flags });
        const system = running.get(key) ?? (await startReplicas(contextOf(cleanups), point));
        running.set(key, system);
        samples[n]!.push(await measure({}, system, { name, title, ...point }, seconds));
      }
    }
    return points.map(({ label }, n) => resultOf({ workload: name, system: label, rounds, seconds }, samples[n]!));
  } finally {
    await end(cleanups);
  }
}

/** As multiples of the first row. */
function table(results: Result[]): string {
  const cost = ({ cpuUs }: Result) => Object.values(cpuUs).reduce((sum, us) => sum + us, 0);
  const first = results[0]!;
  const rows = results.map((each) => {
    const [us, p50, p99] = [cost(each), each.endToEndMs!.p50, each.endToEndMs!.p99];
    const times = (value: number, of: number) => (of === 0 ? '' : (value / of).toFixed(2));
    const parts = Object.entries(each.cpuUs).map(([part, partUs]) => `${partUs.toFixed(partUs < 10 ? 1 : 0)} ${part}`);
    const ratios = [times(us, cost(first)), times(p50, first.endToEndMs!.p50), times(p99, first.endToEndMs!.p99)];
    return `| ${[each.system, parts.join(' + '), ...ratios, each.wrong].join(' | ')} |`;
  });
  return ['| | CPU µs per delivery | CPU | P50 | P99 | wrong |', '| --- | --: | --: | --: | --: | --: |', ...rows].join(
    '\n',
  );
}

function write({ name, title }: Growth, results: Result[]): void {
  writeFileSync(`${docs}benchmarks/growth-${name}.svg`, workloadSvg(`Cost by ${title}`, results));
  const page = `${docs}performance.md`;
  const place = new RegExp(`(<!-- growth ${name} -->\\n)[\\s\\S]*?(<!-- /growth ${name} -->)`);
  const text = readFileSync(page, 'utf8');
  writeFileSync(
    page,
    text.replace(place, (_, start: string, close: string) => `${start}${table(results)}\n${close}`),
  );
}
