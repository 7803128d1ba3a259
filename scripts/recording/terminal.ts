// A real terminal (tmux, with a server of its own) with two panes. In come commands to run and keys to type, out goes what
// stands on the screen, with its colours. Promises: nothing of the user's own tmux is touched; gone with close().

import { execFileSync } from 'node:child_process';

export interface TerminalOptions {
  columns: number;
  upperRows: number;
  lowerRows: number;
  /** Run in the upper pane. */
  upper: string[];
  /** The lower pane is a shell in which this comes first on the PATH. */
  binDir: string;
}

export class Terminal {
  readonly #server = `crossfade-recording-${process.pid}`;

  constructor({ columns, upperRows, lowerRows, upper, binDir }: TerminalOptions) {
    const size = ['-x', String(columns), '-y', String(upperRows + 1 + lowerRows)];
    const shell = ['env', `PATH=${binDir}:${process.env.PATH}`, 'PS1=$ ', 'bash', '--norc', '--noprofile'];
    this.#tmux(['-f', '/dev/null', 'new-session', '-d', ...size, ...upper]);
    this.#tmux(['set-option', '-g', 'status', 'off']);
    this.#tmux(['split-window', '-v', '-l', String(lowerRows), ...shell]);
  }

  /** Types into the shell. `Enter` is the key of that name. */
  type(text: string): void {
    this.#tmux(['send-keys', '-t', ':0.1', ...(text === 'Enter' ? ['Enter'] : ['-l', text])]);
  }

  /** The lines of both panes, with SGR sequences. */
  screen(): { upper: string[]; lower: string[] } {
    const lines = (pane: number) =>
      this.#tmux(['capture-pane', '-p', '-e', '-t', `:0.${pane}`])
        .replace(/\n$/, '')
        .split('\n');
    return { upper: lines(0), lower: lines(1) };
  }

  close(): void {
    this.#tmux(['kill-server']);
  }

  #tmux(args: string[]): string {
    return execFileSync('tmux', ['-L', this.#server, ...args], { encoding: 'utf8', env: { ...process.env, TMUX: '' } });
  }
}
