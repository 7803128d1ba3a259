// `crossfade demo`: a toy bridge, one sidecar in front of it on the embedded log, and a page with two chat clients, a backend
// at work, and the slider.
// Promises: everything on loopback, in a directory of its own that is gone afterwards; ends with Ctrl-C.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { type Config, readConfig } from '../config.ts';
import { Backend } from '../demo/backend.ts';
import { BridgeWitness } from '../demo/bridge-witness.ts';
import { CutoverWatch } from '../demo/cutover-watch.ts';
import { PageServer } from '../demo/page-server.ts';
import { startToyBridge } from '../demo/toy-bridge.ts';
import { CrossfadeError } from '../errors.ts';
import { startReplica } from '../replica.ts';
import { bucketOf } from '../rooms/bucket.ts';
import { createLogger } from '../telemetry/logger.ts';
import { ownCommand } from './own-command.ts';
import { endSignals } from './serve.ts';

const apiKey = 'demo-key';
const jwtSecret = 'demo-secret-that-nobody-should-use-elsewhere';
const users = ['ada', 'ben'];
/** Connects past crossfade, so that the visitor sees what the guard says to it. */
const stranger = 'eve';
/** Where the visitor types; it changes lane between 52 and 53 percent. */
const chatRoom = 'demo';
/** The rooms of the backend at work lie evenly on both sides of it. */
const busyBuckets = [3, 13, 23, 33, 43, 62, 72, 82, 92];

/** @param portText port of the page; errors: CONFIG_INVALID */
export async function demo(portText: string): Promise<void> {
  const page = await PageServer.listen(portArgument(portText));
  const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-demo-'));
  const bridge = await startToyBridge({ apiKey, jwtSecret, allowedOrigins: [page.url] });
  const witness = new BridgeWitness();
  bridge.onCall = (call) => void witness.see(call);
  const config = demoConfig(bridge.url, dataDir);
  const replica = await startReplica(config, createLogger({ level: config.logLevel, instance: config.instance }), () =>
    process.exit(1),
  );
  const edge = (await replica.ready)!;
  const urls = {
    page: page.url,
    bridge: bridge.url,
    ingress: `http://127.0.0.1:${replica.listen!.port}`,
    edge: `http://127.0.0.1:${edge.port}`,
    admin: `http://127.0.0.1:${replica.admin.port}`,
  };
  const rooms = busyBuckets.map(roomIn);
  const cutover = new CutoverWatch(urls.admin, (status) => page.tell('cutover', status));
  const backend = new Backend({
    ingressUrl: urls.ingress,
    apiKey,
    rooms,
    laneOf: (id) => witness.laneOf(id),
    onAccepted: (message) => page.tell('accepted', message),
  });
  servePage(page, await setupOf(urls, rooms), { backend, witness, cutover });
  sayWhatToTry(urls);

  await untilAskedToEnd();
  page.close();
  backend.rest();
  cutover.watch(false);
  await replica.stop();
  await bridge.close();
  rmSync(dataDir, { recursive: true, force: true });
  process.exit();
}

interface Urls {
  page: string;
  bridge: string;
  ingress: string;
  edge: string;
  admin: string;
}

/** What the page needs to know to begin. */
async function setupOf({ edge, bridge, admin }: Urls, rooms: string[]) {
  return {
    /** Another one means another demo, whose numbers begin anew. */
    run: randomUUID(),
    edgeUrl: edge,
    bridgeUrl: bridge,
    adminUrl: admin,
    chatRoom,
    rooms: [...rooms, chatRoom]
      .map((name) => ({ name, bucket: bucketOf(name) }))
      .sort((one, other) => one.bucket - other.bucket),
    clients: await Promise.all(users.map(withToken)),
    stranger: await withToken(stranger),
  };
}

interface Actors {
  backend: Backend;
  witness: BridgeWitness;
  cutover: CutoverWatch;
}

/** The backend works while somebody watches the page and has not paused it. */
function servePage(page: PageServer, setup: { run: string }, { backend, witness, cutover }: Actors): void {
  let paused = false;
  const goOn = () => (page.isWatched && !paused ? backend.work() : backend.rest());
  page.serve({
    greeting: () => ({ run: setup.run, numbers: backend.numbers, paused, cutover: cutover.last }),
    onWatched(watched) {
      cutover.watch(watched);
      goOn();
    },
    routes: {
      'GET /setup': () => ({ status: 200, body: setup }),
      'GET /numbers': () => ({ status: 200, body: backend.numbers }),
      'GET /lane': (_, query) => ({ status: 200, body: { lane: witness.laneOf(query.get('id') ?? '') } }),
      'POST /say': async (words) => ({ status: await backend.say(chatRoom, words), body: {} }),
      'POST /typing': async (typing) => {
        const status = await backend.call('chat/typing', { request_id: chatRoom, ...typing });
        return { status, body: {} };
      },
      'POST /pause': (wanted) => {
        paused = wanted.paused;
        goOn();
        page.tell('paused', { paused });
        return { status: 200, body: {} };
      },
      'PUT /cutover': ({ percent }) => cutover.set(percent),
      'POST /rollback': () => cutover.rollback(),
    },
  });
}

function untilAskedToEnd(): Promise<void> {
  const asked = Promise.withResolvers<void>();
  for (const signal of endSignals) process.once(signal, () => asked.resolve());
  return asked.promise;
}

function portArgument(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw new CrossfadeError('CONFIG_INVALID', `--port: '${text}' is not a port from 0 to 65535`);
}

/** Free ports throughout, so that a demo never meets a running sidecar. */
function demoConfig(bridgeUrl: string, dataDir: string): Config {
  const flags = {
    listen: '127.0.0.1:0',
    edge: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    bridges: bridgeUrl,
    dataDir,
    instance: 'demo',
  };
  return readConfig(flags, { INTERNAL_API_KEY: apiKey, LOG_LEVEL: process.env.LOG_LEVEL ?? 'warn' });
}

/** A room of this bucket, by a name such as requests have. */
function roomIn(bucket: number): string {
  let number = 1;
  while (bucketOf(`request-${number}`) !== bucket) number++;
  return `request-${number}`;
}

async function withToken(user: string): Promise<{ user: string; token: string }> {
  const token = new SignJWT({ sub: user }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('12h');
  return { user, token: await token.sign(new TextEncoder().encode(jwtSecret)) };
}

function sayWhatToTry(urls: Urls): void {
  console.log(`
  crossfade demo: two chat clients, one sidecar, a toy bridge, and the slider

    open     ${urls.page}

    backend side  ${urls.ingress}   takes the backend's calls
    client side   ${urls.edge}   the bridge's SignalR hubs, through crossfade
    toy bridge    ${urls.bridge}   carries what is not on the stream lane
    admin         ${urls.admin}   /metrics, /readyz, /cutover

  Move the slider on the page, or here; the page follows:

    ${ownCommand()} cutover set 60 --admin ${urls.admin}
    ${ownCommand()} cutover rollback --admin ${urls.admin}

  Broadcast a message as the backend does; it shows on the page:

    curl -X POST ${urls.ingress}/internal/chat/message \\
      -H 'X-Internal-Api-Key: ${apiKey}' -H 'Content-Type: application/json' \\
      -d '{"event_id":"hello-1","request_id":"${chatRoom}","message":{"id":"m1","requestId":"${chatRoom}","senderId":"curl","content":"Hello from curl","createdAt":"2026-01-16T10:30:00Z"}}'

  The same again answers {"duplicate":true} and shows nothing. Ctrl-C ends the demo.
`);
}
