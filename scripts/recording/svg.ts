// A recording as an animated SVG: in come screens with their times, out goes one file that needs nothing else.
// Promises: each row is written once for as long as it stays; who does not want motion sees the last screen.

export interface Frame {
  /** ms since the recording began */
  at: number;
  /** With SGR sequences. */
  rows: string[];
}

export interface Picture {
  title: string;
  columns: number;
  frames: Frame[];
  /** ms that the last screen stays before it begins again. */
  restMs: number;
}

const charWidth = 7.8;
const lineHeight = 18;
const padding = 16;
const titleHeight = 34;

interface Stay {
  row: number;
  text: string;
  from: number;
  to: number;
}

export function svg({ title, columns, frames, restMs }: Picture): string {
  const height = titleHeight + frames[0]!.rows.length * lineHeight + padding;
  const width = Math.ceil(columns * charWidth + 2 * padding);
  const totalMs = frames.at(-1)!.at + restMs;
  const stays = staysOf(frames, totalMs).filter(({ text }) => text.trim() !== '');
  const moving = stays.filter(({ from, to }) => from > 0 || to < totalMs);
  const rules = moving.map((stay, index) => ruleOf(stay, index, totalMs));
  const rows = stays.map((stay) => rowOf(stay, moving.indexOf(stay), totalMs));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(title)}</title>
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d7dee8; white-space: pre; }
.b { font-weight: 700; fill: #fff } .d { fill: #8793a5 } .c { fill: #4cc4bd } .y { fill: #e8a15a } .r { fill: #ff8a80 }
.past { visibility: hidden }
@media (prefers-reduced-motion: no-preference) {
.m { animation: ${totalMs}ms step-end infinite }
${rules.join('\n')}
}
</style>
<rect width="100%" height="100%" rx="10" fill="#161c25"/>
<circle cx="20" cy="17" r="5.5" fill="#ff5f57"/><circle cx="38" cy="17" r="5.5" fill="#febc2e"/><circle cx="56" cy="17" r="5.5" fill="#28c840"/>
<text x="${width / 2}" y="21" text-anchor="middle" class="d">${escaped(title)}</text>
${rows.join('\n')}
</svg>
`;
}

/** What stands in each row, from when to when. */
function staysOf(frames: Frame[], totalMs: number): Stay[] {
  const stays: Stay[] = [];
  for (const row of frames[0]!.rows.keys()) {
    for (const { at, rows } of frames) {
      const last = stays.at(-1);
      const text = rows[row] ?? '';
      if (last?.row === row && last.text === text) continue;
      if (last?.row === row) last.to = at;
      stays.push({ row, text, from: at, to: totalMs });
    }
  }
  return stays;
}

function ruleOf({ from, to }: Stay, index: number, totalMs: number): string {
  const percent = (ms: number) => `${Number(((ms / totalMs) * 100).toFixed(2))}%`;
  const before = from > 0 ? '0%{visibility:hidden}' : '';
  const after = to < totalMs ? `${percent(to)}{visibility:hidden}` : '';
  return `@keyframes k${index}{${before}${percent(from)}{visibility:visible}${after}to{visibility:${after ? 'hidden' : 'visible'}}}#r${index}{animation-name:k${index}}`;
}

function rowOf({ row, text, to }: Stay, index: number, totalMs: number): string {
  const y = titleHeight + row * lineHeight + 13;
  const name = index === -1 ? '' : ` id="r${index}" class="m${to < totalMs ? ' past' : ''}"`;
  const spans = spansOf(text).map(({ column, style, chars }) => {
    const length = `textLength="${round([...chars].length * charWidth)}"`;
    return `<tspan x="${round(padding + column * charWidth)}" ${length}${style && ` class="${style}"`}>${escaped(chars)}</tspan>`;
  });
  return `<text y="${y}"${name}>${spans.join('')}</text>`;
}

/** Runs of one style; blanks between words are left out, so that columns stay in line in every font. */
function spansOf(text: string): { column: number; style: string; chars: string }[] {
  const spans: { column: number; style: string; chars: string }[] = [];
  let look = plain;
  let column = 0;
  for (const [, codes, chars] of text.matchAll(/\x1b\[([\d;]*)m|([^\x1b]+)/g)) {
    if (codes !== undefined) {
      for (const code of codes.split(';')) look = { ...look, ...looks[code] };
      continue;
    }
    for (const [part] of chars!.matchAll(/ {2,}|(?:[^ ]| (?! ))+/g)) {
      if (part.trim() !== '') spans.push({ column, style: look.colour || look.weight, chars: part });
      column += [...part].length;
    }
  }
  return spans;
}

/** By SGR code, as far as the program uses them: the class of a weight or a colour. */
const plain = { weight: '', colour: '' };
const looks: Record<string, Partial<typeof plain>> = {
  '': plain,
  '0': plain,
  '1': { weight: 'b' },
  '2': { weight: 'd' },
  '22': { weight: '' },
  '31': { colour: 'r' },
  '33': { colour: 'y' },
  '36': { colour: 'c' },
  '39': { colour: '' },
};

function round(value: number): number {
  return Number(value.toFixed(1));
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
