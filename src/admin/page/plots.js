// The plots: in come points (seconds, then rate, P50, P95, P99 of each lane) and the changes of the cutover, out go four plots. Promise:
// both lanes stand on the same axes, so that they can be compared by eye.

/* global uPlot */

const keptSeconds = 600;
/** Longer than the points are apart: nobody watched. */
const gapSeconds = 3.5;
const offsets = { bridge: 1, stream: 5 };
const height = { rate: 130, latency: 170 };

export class LanePlots {
  /** Time, then four columns of each lane; newest last. */
  #columns = Array.from({ length: 9 }, () => []);
  #changes = [];
  #seconds = 120;
  #plots = [];
  #onLook;

  /** @param onLook called with a lane's values where somebody points into the plots (`undefined`: not any more) */
  constructor(hosts, onLook) {
    this.#onLook = onLook;
    for (const [lane, plots] of Object.entries(hosts)) {
      for (const [kind, host] of Object.entries(plots)) this.#plots.push(this.#make(lane, kind, host));
    }
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  begin(points) {
    for (const column of this.#columns) column.length = 0;
    for (const point of points) this.#push(point);
    this.#draw();
  }

  add(point, changes) {
    this.#push(point);
    this.#changes = changes.map(({ when, from, to, what }) => ({ at: Date.parse(when) / 1_000, from, to, what }));
    this.#draw();
  }

  set seconds(seconds) {
    this.#seconds = seconds;
    this.#draw();
  }

  #push(point) {
    const last = this.#columns[0].at(-1);
    if (last !== undefined && point[0] - last > gapSeconds) this.#append([last + 1, ...Array(8).fill(null)]);
    this.#append(point);
    while (this.#columns[0][0] < point[0] - keptSeconds) for (const column of this.#columns) column.shift();
  }

  #append(point) {
    point.forEach((value, i) => {
      this.#columns[i].push(value);
    });
  }

  #draw() {
    for (const { plot, lane, kind } of this.#plots) {
      const first = offsets[lane];
      const shown = kind === 'rate' ? [first] : [first + 1, first + 2, first + 3];
      plot.setData([this.#columns[0], ...shown.map((i) => this.#columns[i])]);
    }
  }

  #make(lane, kind, host) {
    const plot = new uPlot(
      {
        width: host.clientWidth || 300,
        height: height[kind],
        padding: [14, 28, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: 'lanes' }, drag: { x: false, y: false }, y: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), 'Etc/UTC'),
        scales: {
          x: { range: () => this.#xRange() },
          y: kind === 'rate' ? { range: () => this.#rateRange() } : { distr: 3, range: () => this.#latencyRange() },
        },
        axes: axesOf(kind),
        series: [{}, ...seriesOf(lane, kind)],
        hooks: {
          drawClear: [(u) => this.#drawChanges(u, kind)],
          setCursor: [(u) => this.#look(u)],
        },
      },
      [[], ...seriesOf(lane, kind).map(() => [])],
      host,
    );
    new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height: height[kind] })).observe(host);
    return { plot, lane, kind };
  }

  #xRange() {
    const now = this.#columns[0].at(-1) ?? Date.now() / 1_000;
    return [now - this.#seconds, now];
  }

  #inWindow(columns) {
    const [from] = this.#xRange();
    const first = this.#columns[0].findIndex((at) => at >= from);
    return columns.flatMap((i) => this.#columns[i].slice(first)).filter((value) => value !== null);
  }

  #rateRange() {
    const highest = Math.max(1, ...this.#inWindow([1, 5]));
    return [0, highest * 1.15];
  }

  #latencyRange() {
    const values = this.#inWindow([2, 3, 4, 6, 7, 8]).filter((value) => value > 0);
    if (values.length === 0) return [1, 100];
    const low = 10 ** Math.floor(Math.log10(Math.min(...values)));
    return [low, Math.max(low * 10, 10 ** Math.ceil(Math.log10(Math.max(...values) * 1.05)))];
  }

  #look(u) {
    const { idx } = u.cursor;
    if (idx === null || idx === undefined) return this.#onLook(undefined);
    this.#onLook(this.#columns.map((column) => column[idx]));
  }

  /** Vertical lines behind the curves; their words stand in the plots of the rate alone, where they have room. */
  #drawChanges(u, kind) {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    let freeFrom = bbox.left;
    ctx.save();
    ctx.textAlign = 'left';
    ctx.textBaseline = 'alphabetic';
    ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    for (const { at, from, to, what } of this.#changes) {
      const x = Math.round(u.valToPos(at, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const isRollback = what.startsWith('rollback');
      ctx.strokeStyle = colour(isRollback ? '--danger-line' : '--soft');
      ctx.lineWidth = ratio * (isRollback ? 2 : 1);
      ctx.setLineDash(isRollback ? [] : [3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (kind !== 'rate') continue;
      const words = isRollback ? 'rollback' : from === to ? what : `${from}→${to}%`;
      const width = ctx.measureText(words).width;
      const left = Math.min(x - width / 2, bbox.left + bbox.width - width);
      if (left < freeFrom) continue;
      ctx.fillStyle = colour('--ink');
      ctx.fillText(words, left, bbox.top - 4 * ratio);
      freeFrom = left + width + 8 * ratio;
    }
    ctx.restore();
  }
}

function axesOf(kind) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const shared = { stroke: () => colour('--soft'), font, ticks: { show: false } };
  const grid = { stroke: () => colour('--line'), width: 1 };
  const time = (_, splits) => splits.map((seconds) => new Date(seconds * 1_000).toISOString().slice(11, 19));
  return [
    { ...shared, grid: { show: false }, space: 90, size: 26, values: time },
    {
      ...shared,
      grid,
      size: 46,
      space: 24,
      ...(kind === 'latency' && {
        splits: powersOfTen,
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map(String),
      }),
    },
  ];
}

function powersOfTen(_, __, low, high) {
  const first = Math.round(Math.log10(low));
  return Array.from({ length: Math.round(Math.log10(high)) - first + 1 }, (_, i) => Number(`1e${first + i}`));
}

/** Told apart by their dashes, too. */
function seriesOf(lane, kind) {
  const stroke = () => colour(`--${lane}`);
  const points = { show: false };
  if (kind === 'rate') return [{ stroke, width: 2, fill: () => colour(`--${lane}-tint`), points }];
  return [
    { stroke, width: 2.5, points },
    { stroke, width: 1.75, dash: [7, 4], points },
    { stroke, width: 1.75, dash: [2, 3], points },
  ];
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}
