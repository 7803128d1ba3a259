// The whole recording through the proxied edge: calls go to the bridge itself, clients come through crossfade.

import { test } from 'node:test';
import { startProxiedEdge } from '../edge/proxied/setup.ts';
import { apiKey, jwtSecret, startBridge } from '../support/bridge.ts';
import { playRecording } from '../support/recording.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';

const transports = { sse: true, longPolling: true };

test('clients of the toy bridge see all of the recording through the proxied edge', async (t) => {
  const { url } = await startBridge(t);
  const edge = await startProxiedEdge(t, [url]);
  await playRecording(t, { httpUrl: url, hubsUrl: edge.url, apiKey, jwtSecret, transports });
});

test('clients of the reference bridge see all of the recording through the proxied edge', {
  skip: noDotnet,
}, async (t) => {
  const { url } = await startReferenceBridge(t);
  const edge = await startProxiedEdge(t, [url]);
  await playRecording(t, { httpUrl: url, hubsUrl: edge.url, apiKey, jwtSecret, transports });
});
