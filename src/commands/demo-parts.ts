// `crossfade demo bridge` and `crossfade demo backend`: what a sidecar stands between, each as a process of its own, for trying a
// whole deployment (deploy/compose.yaml). In come addresses and the secrets that the real ones have; they run until they are told
// to end. Promise: the bridge, which may listen beyond loopback, lets nobody in without a key and a token.

import { hostPort, readSecret } from '../config.ts';
import { Backend } from '../demo/backend.ts';
import { startToyBridge } from '../demo/toy-bridge.ts';
import { CrossfadeError } from '../errors.ts';
import { endSignals } from './serve.ts';

/** Enough to lie on both lanes at any percent of note. */
const busyRooms = Array.from({ length: 20 }, (_, number) => `request-${number}`);

/** @param listen `host:port`; errors: CONFIG_INVALID */
export async function demoBridge(listen: string): Promise<void> {
  const { host, port } = addressIn(listen);
  const bridge = await startToyBridge({
    host,
    port,
    apiKey: secretNamed('INTERNAL_API_KEY'),
    jwtSecret: secretNamed('JWT_SECRET_KEY'),
  });
  console.log(`toy bridge at ${bridge.url}`);
  await untilTold();
  await bridge.close();
  process.exit();
}

/** Broadcasts to rooms in turn. @param ingressUrl of crossfade; errors: CONFIG_INVALID */
export async function demoBackend(ingressUrl: string): Promise<void> {
  const apiKey = secretNamed('INTERNAL_API_KEY');
  // By which lane a message went nobody asks here.
  const backend = new Backend({ ingressUrl, apiKey, rooms: busyRooms, laneOf: () => 'bridge', onAccepted() {} });
  backend.work();
  console.log(`a backend at work, by ${ingressUrl}`);
  await untilTold();
  backend.rest();
  process.exit();
}

function addressIn(text: string): ReturnType<typeof hostPort> {
  try {
    return hostPort(text);
  } catch (error) {
    throw new CrossfadeError('CONFIG_INVALID', `--listen: ${(error as Error).message}`);
  }
}

function secretNamed(variable: string): string {
  const secret = readSecret(variable, process.env);
  if (secret === undefined) throw new CrossfadeError('CONFIG_INVALID', `${variable}: is not set`);
  return secret;
}

function untilTold(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of endSignals) process.once(signal, () => resolve());
  });
}
