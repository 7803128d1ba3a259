// The reference bridge against the recording: what the tests call real must answer as the real one did.

import { test } from 'node:test';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { playRecording } from '../support/recording.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';

test('the reference bridge answers all of the recording as the real bridge did', { skip: noDotnet }, async (t) => {
  const { url } = await startReferenceBridge(t);
  await playRecording(t, { httpUrl: url, hubsUrl: url, apiKey, jwtSecret });
});

test('MessagePack beside JSON changes no answer but the one that it is not supported', {
  skip: noDotnet,
}, async (t) => {
  const { url } = await startReferenceBridge(t, { messagePack: true });
  const except = ['handshake messagepack'];
  await playRecording(t, { httpUrl: url, hubsUrl: url, apiKey, jwtSecret, except });
});
