// `crossfade drain` against an admin port that a test plays: it waits for as long as clients are left, and not for a replica
// that has ended.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { drain } from '../../src/commands/drain.ts';
import { hasCode } from '../../src/errors.ts';

/** Answers with each of these in turn, then with the last one again; `end` hangs up, and nobody listens any more. */
async function startAdmin(t: TestContext, answers: ({ remaining: number; done: boolean } | 'end')[]) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const answer = answers[Math.min(asked.length, answers.length - 1)]!;
    asked.push(`${request.method} ${request.url}`);
    if (answer !== 'end') return void response.end(JSON.stringify(answer));
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const said = t.mock.method(console, 'log', () => {});
  return {
    admin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    said: () => said.mock.calls.map((call) => call.arguments[0]),
  };
}

const left = (remaining: number) => ({ remaining, done: false });

test('it waits until nobody is left, and asks by the one request that may be repeated', async (t) => {
  const { admin, asked, said } = await startAdmin(t, [left(2), left(1), left(0), { remaining: 0, done: true }]);
  await drain({ admin, output: 'text' });
  assert.deepEqual(asked, Array(4).fill('POST /drain'));
  assert.deepEqual(said(), ['drained: no client is left']);
});

test('it gives up when its time is over, and says who is left', async (t) => {
  const { admin } = await startAdmin(t, [left(7)]);
  await assert.rejects(drain({ admin, timeout: '0.3', output: 'text' }), (error: Error) => {
    assert.equal(error.message, '7 clients are left after 0.3 s; they go on leaving');
    return hasCode(error, 'EDGE_DRAINING');
  });
});

test('a replica that ends meanwhile has drained', async (t) => {
  const { admin, said } = await startAdmin(t, [left(1), 'end']);
  await drain({ admin, output: 'json' });
  assert.deepEqual(said(), ['{"remaining":0,"done":true}']);
});

test('one that was never there has not', async (t) => {
  const { admin } = await startAdmin(t, ['end']);
  await assert.rejects(drain({ admin, output: 'text' }), (error) => hasCode(error, 'ADMIN_UNREACHABLE'));
});

test('a time that is none is refused', async () => {
  for (const timeout of ['soon', '-1', '1m']) {
    const asking = drain({ admin: 'http://127.0.0.1:1', timeout, output: 'text' });
    await assert.rejects(asking, (error) => hasCode(error, 'CONFIG_INVALID'), timeout);
  }
});
