// A process that appends to an embedded log as fast as it can and prints each id once it is acknowledged, until it is
// killed or the log refuses. Arguments: the data directory.

import { writeSync } from 'node:fs';
import { hasCode } from '../../src/errors.ts';
import { EmbeddedLog } from '../../src/log/embedded/embedded-log.ts';
import { logOptions, newEntry } from '../log/conformance.ts';

const log = new EmbeddedLog({ ...logOptions(), dataDir: process.argv[2]! });
await log.open();
const payload = JSON.stringify('x'.repeat(500));

async function appendForEver(writer: number): Promise<void> {
  for (let i = 0; ; i++) {
    const id = `${process.pid}-${writer}-${i}`;
    try {
      await log.append(newEntry({ eventIds: [id], payload, maxLength: 1_000_000 }));
      writeSync(1, `${id}\n`);
    } catch (error) {
      if (!hasCode(error, 'LOG_APPEND_REFUSED')) throw error;
      writeSync(1, `refused ${error.reason}\n`);
      return;
    }
  }
}

await Promise.all([0, 1, 2, 3].map(appendForEver));
writeSync(1, `reachable ${log.reachable}\n`);
