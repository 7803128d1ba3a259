// The bridge of the tests: the demo's toy bridge with the tests' own secrets, closed when the test ends.
// In come a test and options; out go the bridge and helpers that call it as the backend does.

import type { TestContext } from 'node:test';
import { type RecordedCall, startToyBridge, type ToyBridge, type ToyBridgeOptions } from '../../src/demo/toy-bridge.ts';

export * from '../../src/demo/toy-bridge.ts';

export const apiKey = 'test-api-key';
export const jwtSecret = 'test-secret-of-at-least-32-characters';
export const allowedOrigin = 'http://localhost:3010';

export async function startBridge(t: TestContext, options: Partial<ToyBridgeOptions> = {}): Promise<ToyBridge> {
  const bridge = await startToyBridge({ apiKey, jwtSecret, allowedOrigins: [allowedOrigin], ...options });
  t.after(() => bridge.close());
  return bridge;
}

/**
 * One call as the backend makes it, to the bridge or to what stands in front of it.
 * @param baseUrl such as `http://127.0.0.1:7400`
 * @param path below `/internal/`, such as `chat/message`
 */
export async function call(
  baseUrl: string,
  path: string,
  body: object,
  key = apiKey,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${baseUrl}/internal/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-internal-api-key': key },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

/** The calls that the bridge got, without the reads of crossfade's guard. */
export function broadcastsAt(bridge: ToyBridge): RecordedCall[] {
  return bridge.calls.filter(({ method, url }) => method === 'POST' && url.toLowerCase().startsWith('/internal/'));
}
