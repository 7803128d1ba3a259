// A progress bar on stderr, for whoever sits at a terminal: in come what is under way and how far it is, out goes one line that is
// drawn anew, and is gone at the end. Without a terminal nothing is written.

import { styleText } from 'node:util';

const width = 30;

export class ProgressBar {
  #last = '';

  /** @param share 0 to 1 */
  show(what: string, share: number): void {
    if (!process.stderr.isTTY) return;
    const full = Math.round(share * width);
    const bar = styleText('cyan', '█'.repeat(full)) + styleText('dim', '░'.repeat(width - full));
    const line = `${bar} ${String(Math.round(share * 100)).padStart(3)}%  ${what}`;
    if (line === this.#last) return;
    this.#last = line;
    process.stderr.write(`\r\x1b[K${line}`);
  }

  clear(): void {
    if (this.#last !== '') process.stderr.write('\r\x1b[K');
    this.#last = '';
  }
}
