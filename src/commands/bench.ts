// `crossfade bench`: load on any endpoint that speaks the contract's hubs and calls. In come addresses and a load, out goes what was
// measured, as text with a plot or as JSON. Exit 1 if nothing arrived.

import { styleText } from 'node:util';
import { Crowd, evenly, type Measured } from '../bench/crowd.ts';
import type { Percentiles } from '../bench/ledger.ts';
import { latencyPlot, latencyText } from '../bench/plot.ts';
import { ProgressBar } from '../bench/progress.ts';
import { SignalRWire } from '../bench/signalr.ts';
import { readSecret } from '../config.ts';
import { CrossfadeError } from '../errors.ts';
import { cpuSecondsOf } from './metrics-text.ts';

export interface BenchOptions {
  /** The hub, or the base of an edge. */
  url: string;
  /** Base URL of the HTTP calls. */
  publish: string;
  /** Base URL of crossfade's admin port, for its CPU time. */
  admin?: string;
  clients: number;
  /** Half as many as clients where it is not given. */
  rooms?: number;
  senders: number;
  /** Messages each second. */
  rate: number;
  /** s */
  duration: number;
  output: 'text' | 'json';
}

/** What the server does first (connections, code that is compiled) is not what it does all day. */
const warmUpSeconds = 2;

/** Errors: CONFIG_INVALID, BENCH_TARGET. */
export async function bench(options: BenchOptions): Promise<void> {
  const { url, publish, clients, rooms = Math.ceil(clients / 2), senders, rate, duration, admin } = options;
  const wire = new SignalRWire({ url, publish, ...benchSecrets() });
  const bar = new ProgressBar();
  const crowd = await Crowd.open({
    wire,
    members: evenly(clients, rooms),
    senders,
    onProgress: (share) => bar.show(`${clients} clients join`, share),
  });
  try {
    const warmedUp = await crowd.run({ rate, seconds: Math.min(warmUpSeconds, duration) });
    refuseDeafTarget(warmedUp);
    const measured = await crowd.run({
      rate,
      seconds: duration,
      ...(admin !== undefined && { readCpu: async () => ({ server: await cpuSecondsOf(admin) }) }),
      onProgress: (share) => bar.show(`${rate} messages a second`, share),
    });
    bar.clear();
    const load = { url, publish, clients, rooms, senders, rate, duration };
    console.log(options.output === 'json' ? JSON.stringify({ load, ...measured }, null, 2) : benchText(load, measured));
  } finally {
    bar.clear();
    await crowd.close();
  }
}

/** @throws CrossfadeError CONFIG_INVALID */
export function benchSecrets(): { apiKey: string | undefined; jwtSecret: string } {
  const jwtSecret = readSecret('JWT_SECRET_KEY', process.env);
  if (jwtSecret === undefined) {
    throw new CrossfadeError('CONFIG_INVALID', 'JWT_SECRET_KEY: is not set; clients need tokens that the hub accepts');
  }
  const apiKey = readSecret('INTERNAL_API_KEY', process.env) ?? readSecret('SIGNALR_INTERNAL_API_KEY', process.env);
  return { apiKey, jwtSecret };
}

function refuseDeafTarget({ calls, deliveries, clientsLost }: Measured): void {
  if (calls.accepted > 0 && deliveries.delivered > 0) return;
  const said = Object.entries(calls.failed).map(([outcome, count]) => `${count} × ${outcome}`);
  const calmly = said.length > 0 ? said.join(', ') : `${calls.accepted} × success`;
  throw new CrossfadeError(
    'BENCH_TARGET',
    `nothing arrived: of ${calls.sent} calls ${calmly}; ${clientsLost} clients were disconnected`,
  );
}

function benchText(load: Required<Omit<BenchOptions, 'admin' | 'output'>>, measured: Measured): string {
  const { clients, rooms, rate, duration, url, publish } = load;
  const { calls, deliveries, publishMs, endToEndMs, overTime } = measured;
  const failures = Object.entries(calls.failed).map(([outcome, count]) => `${count} × ${outcome}`);
  const where = rooms === 1 ? 'one room' : `${rooms} rooms`;
  const head = `${styleText('bold', `${clients} clients in ${where}, ${rate} messages a second for ${duration} s`)}
${styleText('dim', `calls to ${publish}, clients at ${url}`)}`;
  const { owed, delivered, lost, doubled, outOfOrder } = deliveries;
  const wrong = (count: number, what: string) => (count === 0 ? `0 ${what}` : styleText('red', `${count} ${what}`));
  return [
    head,
    '',
    `${' '.repeat(12)}${['P50', 'P95', 'P99', 'max'].map((name) => name.padStart(11)).join('')}`,
    percentilesLine('publish', publishMs),
    percentilesLine('end to end', endToEndMs),
    '',
    `end to end over time: ${styleText('cyan', '█')} P50, ${styleText('dim', '░')} P99`,
    ...latencyPlot(overTime),
    '',
    `calls       ${calls.sent} sent, ${calls.accepted} accepted${failures.length > 0 ? `, ${styleText('red', failures.join(', '))}` : ''}`,
    `deliveries  ${owed} owed, ${delivered} delivered, ${wrong(lost, 'lost')}, ${wrong(doubled, 'doubled')}, ${wrong(outOfOrder, 'out of order')}`,
    ...(measured.clientsLost > 0 ? [styleText('red', `clients     ${measured.clientsLost} disconnected`)] : []),
    ...Object.entries(measured.cpuPerDeliveryUs).map(
      ([name, us]) => `CPU         ${us < 10 ? us : Math.round(us)} µs of ${name} per delivery`,
    ),
    `generator   ${Math.round(measured.generator.cpuShare * 100)}% of a core, P99 ${latencyText(measured.generator.lateMs?.p99 ?? 0)} late`,
  ].join('\n');
}

function percentilesLine(name: string, percentiles: Percentiles | undefined): string {
  if (percentiles === undefined) return `${name.padEnd(12)}nothing was measured`;
  const { p50, p95, p99, max } = percentiles;
  return name.padEnd(12) + [p50, p95, p99, max].map((ms) => latencyText(ms).padStart(11)).join('');
}
