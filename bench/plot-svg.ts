// A workload as a picture: in come the results of its systems, out goes one SVG: latencies on a logarithmic axis at the left, CPU (or
// memory) at the right, a row a system. Promise: it needs nothing else, and can be read in light and dark.

import { inOrder, type Result } from './report.ts';

const rowHeight = 30;
const top = 78;
const width = 960;
const labelRight = 266;
const latency = { left: 284, right: 604 };
const cost = { left: 640, right: 896 };
const partColours: Record<string, string> = { server: '#0f8f88', redis: '#e08a2c', bridge: '#7a6ff0' };

export function workloadSvg(title: string, results: Result[]): string {
  const rows = inOrder(results).filter(
    ({ endToEndMs, bytesPerConnection }) => endToEndMs !== null || bytesPerConnection !== null,
  );
  const isIdle = rows.every(({ endToEndMs }) => endToEndMs === null);
  const height = top + rows.length * rowHeight + 40;
  const body = [
    ...rows.map(({ system }, n) => label(system, n)),
    ...(isIdle ? memoryBars(rows) : [...latencies(rows, height), ...cpuBars(rows)]),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(title)}</title>
<style>text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24303c } .t { font-size: 16px; font-weight: 600 } .d { fill: #66727f; font-size: 12px } .own { font-weight: 600 }</style>
<rect width="100%" height="100%" rx="8" fill="#fbfcfd" stroke="#d5dce3"/>
<text x="20" y="28" class="t">${escaped(title)}</text>
${body.join('\n')}
</svg>
`;
}

function label(system: string, n: number): string {
  const own = system.startsWith('crossfade') ? ' class="own"' : '';
  return `<text x="${labelRight}" y="${middle(n) + 4}" text-anchor="end"${own}>${escaped(system)}</text>`;
}

/** From P50 to P95 a thick line, on to P99 a thin one. */
function latencies(rows: Result[], height: number): string[] {
  const values = rows.flatMap(({ endToEndMs }) => Object.values(endToEndMs!));
  const powers = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))] as const;
  const x = (ms: number) =>
    latency.left + ((Math.log10(ms) - powers[0]) / (powers[1] - powers[0])) * (latency.right - latency.left);
  const ticks = Array.from({ length: powers[1] - powers[0] + 1 }, (_, n) => 10 ** (powers[0] + n));
  return [
    `<text x="${latency.left}" y="54" class="d">end to end, ms: ● P50, ━ to P95, ─ to P99</text>`,
    ...ticks.map(
      (tick) =>
        `<path d="M${x(tick)} ${top - 8}V${height - 30}" stroke="#e3e8ed"/><text x="${x(tick)}" y="${height - 14}" text-anchor="middle" class="d">${tick}</text>`,
    ),
    ...rows.map(({ endToEndMs, system }, n) => {
      const { p50, p95, p99 } = endToEndMs!;
      const colour = system.startsWith('crossfade') ? '#0f8f88' : '#66727f';
      const y = middle(n);
      return `<g stroke="${colour}" fill="${colour}"><path d="M${x(p50)} ${y}H${x(p99)}" stroke-width="2"/><path d="M${x(p50)} ${y}H${x(p95)}" stroke-width="7"/><circle cx="${x(p50)}" cy="${y}" r="6" stroke="#fbfcfd" stroke-width="1.5"/></g>`;
    }),
  ];
}

function cpuBars(rows: Result[]): string[] {
  const parts = Object.keys(partColours).filter((part) => rows.some(({ cpuUs }) => part in cpuUs));
  const total = ({ cpuUs }: Result) => Object.values(cpuUs).reduce((sum, us) => sum + us, 0);
  const largest = Math.max(...rows.map(total));
  const scale = (cost.right - cost.left) / largest;
  const key = parts.map(
    (part, n) =>
      `<rect x="${cost.left + 136 + n * 58}" y="45" width="10" height="10" fill="${partColours[part]}"/><text x="${cost.left + 150 + n * 58}" y="54" class="d">${part}</text>`,
  );
  const bars = rows.map((row, n) => {
    let x = cost.left;
    const pieces = parts.map((part) => {
      const length = (row.cpuUs[part] ?? 0) * scale;
      const piece = `<rect x="${x}" y="${middle(n) - 8}" width="${length}" height="16" fill="${partColours[part]}"/>`;
      x += length;
      return piece;
    });
    return `${pieces.join('')}<text x="${x + 6}" y="${middle(n) + 4}" class="d">${shortNumber(total(row))}</text>`;
  });
  return [`<text x="${cost.left}" y="54" class="d">CPU, µs per delivery</text>`, ...key, ...bars];
}

function memoryBars(rows: Result[]): string[] {
  const largest = Math.max(...rows.map(({ bytesPerConnection }) => bytesPerConnection!));
  const scale = (cost.right - latency.left) / largest;
  return [
    `<text x="${latency.left}" y="54" class="d">memory of the server, kB per connection</text>`,
    ...rows.map(({ bytesPerConnection }, n) => {
      const length = Math.max(0, bytesPerConnection! * scale);
      return `<rect x="${latency.left}" y="${middle(n) - 8}" width="${length}" height="16" fill="#0f8f88"/><text x="${latency.left + length + 6}" y="${middle(n) + 4}" class="d">${shortNumber(bytesPerConnection! / 1_000)}</text>`;
    }),
  ];
}

function middle(n: number): number {
  return top + n * rowHeight + 8;
}

function shortNumber(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
