// The recording of the real bridge, played against crossfade without a bridge (native hubs), from source and binary.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import type { StartOptions } from '../support/process.ts';
import { playRecording } from '../support/recording.ts';
import { startRedis } from '../support/redis.ts';
import { patient, programs, startSidecar } from './sidecar.ts';

async function play(t: TestContext, flags: string[], options: StartOptions): Promise<void> {
  const { listen, edge } = await startSidecar(t, flags, options);
  // The bridge of the recording did not offer it.
  const except = ['handshake messagepack'];
  await playRecording(t, { httpUrl: listen, hubsUrl: edge, apiKey, jwtSecret, offersRefresh: true, except });
}

for (const { name, options } of programs) {
  test(`${name} answers the recording on the embedded log as the bridge did`, async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-test-'));
    t.after(() => rmSync(dataDir, { recursive: true, force: true }));
    await play(t, ['--data-dir', dataDir], options);
  });

  test(`${name} answers the recording on Redis as the bridge did`, async (t) => {
    const redis = await startRedis(t);
    await play(t, [...patient, '--redis', redis.url], options);
  });
}
