// What a reader does after an outage, or after it may have missed an answer. In come the cursors as they stood before; out they go on
// where they stood: with their groups made again, at the start of a log that was replaced, and with what the old connection did not bring.

import type { Logger } from '../../telemetry/logger.ts';
import type { Cursor } from './cursor.ts';
import type { Cursors } from './cursors.ts';
import type { GroupReads } from './group-reads.ts';
import type { StreamInfo } from './groups.ts';

/** A publisher's clock may be this far behind ours: what it published within is not history. */
const historySlackMs = 10_000;

export class Recovery {
  readonly #reads: GroupReads;
  readonly #cursors: Cursors;
  readonly #ownsName: () => Promise<boolean>;
  readonly #logger: Logger;

  /** @param ownsName whether the instance name, and with it the groups, is still ours by Redis' own word */
  constructor(reads: GroupReads, cursors: Cursors, ownsName: () => Promise<boolean>, logger: Logger) {
    this.#reads = reads;
    this.#cursors = cursors;
    this.#ownsName = ownsName;
    this.#logger = logger;
  }

  /** @param repliedAtMs when Redis last replied (ms since 1970): the outage began behind that. Rejects as the connection does. */
  async run(repliedAtMs: number): Promise<void> {
    this.#reads.mustRecover = false;
    try {
      if (!(await this.#ownsName())) return;
      const infos = await this.#reads.inspect();
      for (const [index, cursor] of this.#cursors.all.entries()) await this.#resume(cursor, infos[index]!, repliedAtMs);
      for (const cursor of this.#cursors.all) await this.#reads.takePending(cursor);
    } catch (error) {
      this.#reads.mustRecover = true;
      throw error;
    }
  }

  async #resume(cursor: Cursor, info: StreamInfo, repliedAtMs: number): Promise<void> {
    const { stream } = cursor;
    if (cursor.isReplaced(info)) {
      this.#logger.warn({ stream }, 'the log was replaced; reading the new one from its start');
      await this.#reads.makeGroup(cursor, '0');
      this.#cursors.restart(cursor, repliedAtMs - historySlackMs);
    } else if (!info.hasGroup) {
      this.#logger.warn({ stream }, "this replica's consumer group was gone; made again where it stood");
      await this.#reads.makeGroup(cursor, cursor.readTo);
    }
  }
}
