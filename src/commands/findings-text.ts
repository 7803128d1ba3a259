// Lines of a check or of a dry run for a terminal: in come findings, out goes a line each with a mark, and below what is not as it
// must be, what to do.

import { styleText } from 'node:util';
import type { CheckFinding } from '../findings.ts';

const marks: Record<CheckFinding['status'], string> = {
  ok: styleText('green', '√'),
  warn: styleText('yellow', '‼'),
  fail: styleText('red', '×'),
};

/** @param nameWidth of the column of names; 0: only what was found */
export function findingLines(findings: CheckFinding[], nameWidth: number): string[] {
  return findings.flatMap(({ name, status, detail, hint }, i) => {
    const label = name === findings[i - 1]?.name ? '' : name;
    const head = `${marks[status]} ${nameWidth === 0 ? '' : label.padEnd(nameWidth)}${detail}`;
    const indent = ' '.repeat(nameWidth + 4);
    return hint === undefined
      ? [head]
      : [head, `${indent}→ ${hint.startsWith('crossfade ') ? styleText('cyan', hint) : hint}`];
  });
}
