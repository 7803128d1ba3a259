// Clients of proxied hubs, at 0, 50 and 100 percent and in front of either bridge: the whole recording, server-sent events and
// long polling included, and the test-drive with the real client.

import { type TestContext, test } from 'node:test';
import { apiKey, jwtSecret, startBridge } from '../support/bridge.ts';
import { playRecording } from '../support/recording.ts';
import { startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { atPercent, patient, startSidecar } from './sidecar.ts';
import { hubNames, playCalls, playHub } from './test-drive.ts';

const bridges = [
  { name: 'the toy bridge', start: startBridge, skip: false as const },
  { name: 'the reference bridge', start: startReferenceBridge, skip: noDotnet },
];

for (const { name, start, skip } of bridges) {
  for (const percent of [0, 50, 100]) {
    const startAtPercent = async (t: TestContext) => {
      const [redis, bridge] = [await startRedis(t), await start(t)];
      const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url, '--percent', String(percent)];
      const sidecar = await startSidecar(t, flags);
      await atPercent(sidecar, percent);
      return sidecar;
    };

    test(`in front of ${name} at ${percent} percent the recording is what it was`, { skip }, async (t) => {
      const { listen, edge } = await startAtPercent(t);
      // The bridge answers `stats` as always, but it has not seen the ids of calls that went by stream.
      const except = percent === 0 ? {} : { except: ['stats'] };
      await playRecording(t, { httpUrl: listen, hubsUrl: edge, apiKey, jwtSecret, ...except });
    });

    test(`in front of ${name} at ${percent} percent every call and hub method does what it did`, {
      skip,
    }, async (t) => {
      const sidecar = await startAtPercent(t);
      await playCalls(t, sidecar);
      for (const hub of hubNames) await t.test(hub, (t) => playHub(t, hub, sidecar.edge, sidecar.edge));
    });
  }
}
