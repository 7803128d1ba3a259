// The page's hand on the sidecar's admin port: in come a percent or a rollback, out go the admin port's own answers, and
// its state whenever that has changed, whoever has changed it.

import type { PageAnswer } from './page-server.ts';

const askEveryMs = 500;
const who = 'the demo’s page';

export class CutoverWatch {
  readonly #adminUrl: string;
  readonly #onChange: (status: object) => void;
  #timer: NodeJS.Timeout | undefined;
  #lastText = '{}';

  constructor(adminUrl: string, onChange: (status: object) => void) {
    this.#adminUrl = adminUrl;
    this.#onChange = onChange;
  }

  /** The admin port's latest answer. */
  get last(): object {
    return JSON.parse(this.#lastText);
  }

  watch(watched: boolean): void {
    clearInterval(this.#timer);
    if (!watched) return;
    this.#timer = setInterval(() => void this.#look(), askEveryMs);
    void this.#look();
  }

  set(percent: number): Promise<PageAnswer> {
    return this.#ask('PUT', '/cutover', { percent, by: who });
  }

  rollback(): Promise<PageAnswer> {
    return this.#ask('POST', '/cutover/rollback', { by: who });
  }

  async #ask(method: string, path: string, body: object): Promise<PageAnswer> {
    const answer = await fetch(this.#adminUrl + path, { method, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  }

  async #look(): Promise<void> {
    const text = await fetch(`${this.#adminUrl}/cutover`)
      .then((answer) => answer.text())
      .catch(() => this.#lastText);
    if (text === this.#lastText) return;
    this.#lastText = text;
    this.#onChange(this.last);
  }
}
