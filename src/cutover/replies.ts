// Who has answered what: in come the answers of replicas to one question, out they go once all that were asked have
// answered, or the time is over.

import type { Clock } from '../telemetry/clock.ts';

interface Waiting {
  asked: string[];
  finish(): void;
}

/** ms after which nobody gathers any more: the question could not be asked. */
const openLimitMs = 30_000;

export class Replies<Answer> {
  readonly #clock: Clock;
  /** Question -> instance -> answer. */
  readonly #answers = new Map<string, Map<string, Answer>>();
  readonly #waiting = new Map<string, Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many questions are open. */
  get size(): number {
    return this.#answers.size;
  }

  /** Answers to questions that nobody here has open are passed over. */
  note(question: string, instance: string, answer: Answer): void {
    const answers = this.#answers.get(question);
    if (answers === undefined) return;
    answers.set(instance, answer);
    const waiting = this.#waiting.get(question);
    if (waiting?.asked.every((each) => answers.has(each))) waiting.finish();
  }

  /** From now on answers to the question are kept, until gather() has given them out. */
  open(question: string): void {
    const answers = new Map<string, Answer>();
    this.#answers.set(question, answers);
    // Whoever asks once more has the whole time again.
    this.#clock.after(openLimitMs, () => this.#answers.get(question) === answers && this.#answers.delete(question));
  }

  /** @returns the answers, of all `asked` or of those that came within `ms` */
  async gather(question: string, asked: string[], ms: number): Promise<Map<string, Answer>> {
    const answers = this.#answers.get(question) ?? new Map<string, Answer>();
    if (!asked.every((each) => answers.has(each))) {
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(ms, resolve);
        const finish = () => {
          cancel();
          resolve();
        };
        this.#waiting.set(question, { asked, finish });
      });
    }
    this.#waiting.delete(question);
    this.#answers.delete(question);
    return answers;
  }
}
