// The boundary around everything that comes from outside: in comes work on one request, connection, entry,
// note or timer, out goes nothing, whatever happens in it. Promises: what throws or rejects is logged and counted here
// (`crossfade_faults_total{where}`), ends what `end` names, and nothing else: never the process.

import { CrossfadeError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import type { FaultPlace, Metrics } from './metrics.ts';

export class Faults {
  readonly #logger: Logger;
  readonly #metrics: Pick<Metrics, 'faults'>;

  constructor(logger: Logger, metrics: Pick<Metrics, 'faults'>) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  /**
   * Runs one piece of work to its end; neither throws nor rejects.
   * @param end ends what the fault concerns (destroys a socket, say); what it throws itself is reported too
   */
  contain(where: FaultPlace, run: () => unknown, end: (error: unknown) => void = () => {}): void {
    try {
      const result = run();
      if (result instanceof Promise) result.catch((error) => this.#end(where, error, end));
    } catch (error) {
      this.#end(where, error, end);
    }
  }

  /** The same listener, inside the boundary. @param end as in contain() */
  contained<Args extends unknown[]>(
    where: FaultPlace,
    listener: (...args: Args) => unknown,
    end?: (error: unknown) => void,
  ): (...args: Args) => void {
    return (...args) => this.contain(where, () => listener(...args), end);
  }

  /** Logs and counts a fault that was caught elsewhere. */
  report(where: FaultPlace, error: unknown): void {
    this.#metrics.faults.inc({ where });
    const code = error instanceof CrossfadeError ? error.code : undefined;
    this.#logger.error({ where, code, err: error }, 'a fault was caught at the boundary');
  }

  /** The same clock; what throws or rejects in one of its timers ends that run alone. */
  clock(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      after: (ms, run) => clock.after(ms, () => this.contain('timer', run)),
      every: (ms, run) => clock.every(ms, () => this.contain('timer', run)),
    };
  }

  #end(where: FaultPlace, error: unknown, end: (error: unknown) => void): void {
    this.report(where, error);
    try {
      end(error);
    } catch (endError) {
      this.report(where, endError);
    }
  }
}
