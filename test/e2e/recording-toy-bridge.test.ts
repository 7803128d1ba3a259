// The toy bridge against the recording of the real one, so that what the tests stand on cannot drift from reality.

import { test } from 'node:test';
import { apiKey, jwtSecret, startBridge } from '../support/bridge.ts';
import { playRecording } from '../support/recording.ts';

test('the toy bridge answers all of the recording as the real bridge did', async (t) => {
  const { url } = await startBridge(t);
  await playRecording(t, { httpUrl: url, hubsUrl: url, apiKey, jwtSecret });
});
