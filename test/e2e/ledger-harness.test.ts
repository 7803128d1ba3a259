// The ledger judged itself: against a bridge alone it finds nothing; with something in between that loses, doubles,
// swaps or misleads a single event it finds that.

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { apiKey, call, jwtSecret, startBridge, type ToyBridge } from '../support/bridge.ts';
import { describeFaults } from '../support/ledger/fault.ts';
import { type LedgerOptions, type LedgerReport, runLedger } from '../support/ledger/ledger.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const victimRoom = 'room-3';
/** Of 70 calls in a room the victim is one in the middle: enough before it, and enough behind it to change places with. */
const small = { clientCount: 60, roomCount: 10, callCount: 900, durationMs: 2_400, arrivalMs: 0 };
function run(t: TestContext, bridge: ToyBridge, options: Partial<LedgerOptions> = {}): Promise<LedgerReport> {
  const toBridge = { edges: [bridge.url], addressOf: () => bridge.url, apiKey, jwtSecret, messagePack: false };
  return runLedger(t, { ...toBridge, ...small, ...options });
}

test('the ledger finds nothing at clients and calls of a bridge alone', async (t) => {
  const bridge = await startBridge(t);
  const report = await run(t, bridge);
  t.diagnostic(report.mix);
  t.diagnostic(`${report.shownCount} messages shown, delay ${JSON.stringify(report.delay)} ms`);
  assert.equal(report.faults.length, 0, describeFaults(report.faults));
  assert.deepEqual(report.lost, []);
  assert.deepEqual(report.outcomes, { 200: small.callCount });
});

/** What becomes of one call that is answered 200 whatever becomes of it. */
type Lie = (path: string, body: Body, pass: (body: Body) => Promise<unknown>) => Promise<unknown>;
type Body = Record<string, unknown>;

const lies: Record<'lost' | 'double' | 'foreign', Lie> = {
  lost: async () => {},
  double: async (_, body, pass) => {
    await pass(body);
    await pass({ ...body, event_id: 'again' });
  },
  foreign: async (_, body, pass) => {
    await pass(body);
    await pass({ ...body, event_id: 'new', message: { ...(body.message as Body), content: 'nobody called this' } });
  },
};

for (const [kind, lie] of Object.entries(lies)) {
  for (const mark of ['n', 'same']) {
    test(`the ledger finds one message (${mark}) that is ${kind}`, async (t) => {
      const bridge = await startBridge(t);
      const liar = await startLiar(t, bridge.url, mark, lie);
      assertFaults(await run(t, bridge, { addressOf: () => liar }), kind);
    });
  }
}

test('the ledger finds two messages of a room that changed places', async (t) => {
  const bridge = await startBridge(t);
  const late = Promise.withResolvers<void>();
  const liar = await startLiar(t, bridge.url, 'n', async (_, body, pass) => {
    const before = bridge.calls.length;
    // Behind all that other rooms call meanwhile, and so behind some of its own room.
    until(() => bridge.calls.length > before + 150)
      .then(() => pass(body))
      .then(() => late.resolve(), late.reject);
  });
  assertFaults(await run(t, bridge, { addressOf: () => liar }), 'order');
  await late.promise;
});

test('the ledger finds connections that were closed', async (t) => {
  const bridge = await startBridge(t);
  const proxy = await startProxy(t, Number(new URL(bridge.url).port));
  const walk = () => [{ name: 'cut', run: async () => proxy.cut() }];
  const report = await run(t, bridge, { edges: [`http://127.0.0.1:${proxy.port}`], walk });
  assert.ok(report.lost.length > small.clientCount, `${report.lost.length} were lost`);
  assert.equal(report.faults.length, 0, describeFaults(report.faults));
});

function assertFaults({ faults }: LedgerReport, kind: string): void {
  assert.ok(faults.length > 3, 'every member has the fault');
  const isRight = faults.every((fault) => fault.kind === kind && fault.room === victimRoom);
  assert.ok(isRight, describeFaults(faults));
}

/** Passes calls on to the bridge, all but one: the first message of its room behind 40 others that begins like this. */
async function startLiar(t: TestContext, bridgeUrl: string, mark: string, lie: Lie): Promise<string> {
  let count = 0;
  let isOver = false;
  const pass = (path: string) => (body: Body) => call(bridgeUrl, path, body);
  const answerTo = async (path: string, body: Body) => {
    const isVictim = !isOver && body.request_id === victimRoom && count++ > 40 && isMessage(path, body, mark);
    if (!isVictim) return (await pass(path)(body)).body;
    isOver = true;
    await lie(path, body, pass(path));
    return { broadcast: true };
  };
  const server = createServer(async (req: IncomingMessage, res) => {
    const body = JSON.parse(await text(req));
    res.end(JSON.stringify(await answerTo(req.url!.replace('/internal/', ''), body)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function isMessage(path: string, body: Body, mark: string): boolean {
  const { content, senderId } = (body.message ?? {}) as { content?: string; senderId?: string };
  return path === 'chat/message' && content!.startsWith(mark) && senderId === undefined;
}
