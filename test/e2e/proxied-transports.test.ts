// The real client on every transport through the proxied edge, in front of the toy bridge and of a real one: calls at the
// bridge and messages that are injected arrive, in order and whole; an end is an end and a loss is a loss.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { HubConnectionState } from '@microsoft/signalr';
import { startProxiedEdge } from '../edge/proxied/setup.ts';
import { apiKey, call, jwtSecret, startBridge } from '../support/bridge.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { connect, HttpTransportType, makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

const bridges = [
  { name: 'the toy bridge', skip: false, start: async (t: TestContext) => (await startBridge(t)).url },
  {
    name: 'the reference bridge',
    skip: noDotnet,
    start: async (t: TestContext) => (await startReferenceBridge(t)).url,
  },
];
const transports = {
  WebSockets: HttpTransportType.WebSockets,
  'server-sent events': HttpTransportType.ServerSentEvents,
  'long polling': HttpTransportType.LongPolling,
};

for (const { name, skip, start } of bridges) {
  test(`clients of ${name} through the proxied edge`, { skip }, async (t) => {
    const url = await start(t);
    const proxied = await startProxiedEdge(t, [url]);
    const token = await makeToken({ sub: 'u1' }, jwtSecret);
    const open = async (t: TestContext, transport: HttpTransportType, reconnectMs?: number[]) => {
      const client = await connect(t, `${proxied.url}/hubs/chat`, token, { transport, reconnectMs });
      return { ...client, tap: proxied.taps.at(-1)! };
    };
    const type = (room: string, user: string) =>
      call(url, 'chat/typing', { event_id: '', request_id: room, user_id: user, is_typing: true });

    for (const [label, transport] of Object.entries(transports)) {
      await t.test(`${label}: calls and injected messages all arrive, each kind in its order`, async (t) => {
        const { connection, of, tap } = await open(t, transport);
        assert.equal(tap.facts.user, 'u1');
        await connection.invoke('JoinRoom', label);
        const count = 200;
        for (let i = 0; i < count; i++) {
          tap.inject(String(i));
          await type(label, String(i));
        }
        const injected = () => of('Injected').map(({ args: [i] }) => i);
        const typed = () => of('TypingIndicator').map(({ args }) => Number((args[0] as { userId: string }).userId));
        await until(() => injected().length >= count && typed().length >= count, {
          what: () => `${count}: ${injected().length} injected, ${typed().length} of the bridge`,
        });
        const all = Array.from({ length: count }, (_, i) => i);
        assert.deepEqual(injected(), all);
        assert.deepEqual(typed(), all);
        assert.equal(await connection.invoke('LeaveRoom', label), null);
      });

      await t.test(`${label}: a client that stops is gone at the bridge, and its tap has ended once`, async (t) => {
        const { connection, tap } = await open(t, transport);
        await connection.invoke('JoinRoom', 'r');
        await connection.stop();
        await until(() => tap.ends === 1);
        await until(async () => (await roomsAt(url)) === 0, { what: 'the bridge to have no room any more' });
      });

      await t.test(`${label}: a client that is cut, or told to come back, comes back`, async (t) => {
        const { connection, tap } = await open(t, transport, [0, 0, 0, 0]);
        const reconnected: (string | undefined)[] = [];
        connection.onreconnected((id) => reconnected.push(id));
        tap.leg.cut();
        await until(() => reconnected.length === 1);
        await connection.invoke('JoinRoom', 'r');
        await proxied.closeClients();
        await until(() => reconnected.length === 2);
        assert.equal(await connection.invoke('JoinRoom', 'r'), null);
        assert.equal(connection.state, HubConnectionState.Connected);
      });
    }
  });
}

async function roomsAt(url: string): Promise<number> {
  const stats = await fetch(`${url}/internal/stats`, { headers: { 'x-internal-api-key': apiKey } });
  return ((await stats.json()) as { rooms: number }).rooms;
}
