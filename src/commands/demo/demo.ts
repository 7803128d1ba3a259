// `crossfade demo`: a toy bridge, one sidecar in front of it on the embedded log, and a page with two chat clients.
// Promises: everything on loopback, in a directory of its own that is gone afterwards; ends with Ctrl-C.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { assetText } from '../../assets.ts';
import { type Config, readConfig } from '../../config.ts';
import { CrossfadeError } from '../../errors.ts';
import { addressOf, listenOn } from '../../listen.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { startReplica } from '../replica.ts';
import { startToyBridge } from './toy-bridge.ts';

const apiKey = 'demo-key';
const jwtSecret = 'demo-secret-that-nobody-should-use-elsewhere';
const users = ['ada', 'ben'];
const room = 'demo';

/** @param portText port of the page; errors: CONFIG_INVALID */
export async function demo(portText: string): Promise<void> {
  const port = portOf(portText);
  const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-demo-'));
  const page = createServer();
  await listenOn(page, { host: '127.0.0.1', port });
  const pageUrl = `http://127.0.0.1:${addressOf(page).port}`;
  const bridge = await startToyBridge({ apiKey, jwtSecret, allowedOrigins: [pageUrl] });
  const config = demoConfig({ bridgeUrl: bridge.url, dataDir, pageUrl });
  const logger = createLogger('demo');
  logger.level = process.env.LOG_LEVEL ?? 'warn';
  const replica = await startReplica(config, logger, () => process.exit(1));
  const ingressUrl = `http://127.0.0.1:${replica.listen.port}`;
  const edgeUrl = `http://127.0.0.1:${(await replica.ready).port}`;
  page.on('request', (request, response) => void servePage(request, response, { ingressUrl, edgeUrl }));
  sayWhatToTry({ pageUrl, bridgeUrl: bridge.url, ingressUrl, edgeUrl, adminPort: replica.admin.port });

  const stop = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.resolve());
  await stop.promise;
  page.close();
  page.closeAllConnections();
  await replica.stop();
  await bridge.close();
  rmSync(dataDir, { recursive: true, force: true });
  process.exit();
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw new CrossfadeError('CONFIG_INVALID', `--port: '${text}' is not a port from 0 to 65535`);
}

/** Free ports throughout, so that a demo never meets a running sidecar. */
function demoConfig(parts: { bridgeUrl: string; dataDir: string; pageUrl: string }): Config {
  const flags = {
    listen: '127.0.0.1:0',
    edge: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    bridge: parts.bridgeUrl,
    percent: '100',
    dataDir: parts.dataDir,
    instance: 'demo',
    allowedOrigins: parts.pageUrl,
  };
  return readConfig(flags, { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret });
}

interface Sidecar {
  ingressUrl: string;
  edgeUrl: string;
}

/** The page, the client library, what the page needs to know, and the demo's backend: POST /say and /typing. */
async function servePage(request: IncomingMessage, response: ServerResponse, sidecar: Sidecar): Promise<void> {
  try {
    if (request.method === 'POST') return await relayCall(request, response, sidecar.ingressUrl);
    if (request.url === '/') return write(response, 'text/html; charset=utf-8', assetText('page.html'));
    if (request.url === '/signalr.js') return write(response, 'text/javascript', assetText('signalr.min.js'));
    if (request.url === '/setup')
      return write(response, 'application/json', JSON.stringify(await setup(sidecar.edgeUrl)));
    response.writeHead(404).end();
  } catch (error) {
    response.writeHead(502, { 'Content-Type': 'text/plain' }).end((error as Error).message);
  }
}

async function setup(edgeUrl: string): Promise<object> {
  const clients = users.map(async (user) => ({ user, token: await tokenFor(user) }));
  return { edgeUrl, room, clients: await Promise.all(clients) };
}

function tokenFor(user: string): Promise<string> {
  const token = new SignJWT({ sub: user }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('12h');
  return token.sign(new TextEncoder().encode(jwtSecret));
}

/** The part of the backend: the page posts a call's body, the demo adds the key that a browser must not know. */
async function relayCall(request: IncomingMessage, response: ServerResponse, ingressUrl: string): Promise<void> {
  const paths: Record<string, string> = { '/say': 'chat/message', '/typing': 'chat/typing' };
  const path = paths[request.url!];
  if (path === undefined) {
    response.writeHead(404).end();
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const answer = await fetch(`${ingressUrl}/internal/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-internal-api-key': apiKey },
    body: Buffer.concat(chunks),
  });
  response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(await answer.text());
}

function write(response: ServerResponse, type: string, body: string): void {
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(body);
}

function sayWhatToTry(urls: {
  pageUrl: string;
  bridgeUrl: string;
  ingressUrl: string;
  edgeUrl: string;
  adminPort: number;
}): void {
  console.log(`
  crossfade demo: two chat clients, one sidecar, a toy bridge

    open     ${urls.pageUrl}

    backend side  ${urls.ingressUrl}   every room on the stream lane (100 percent)
    client side   ${urls.edgeUrl}   SignalR hubs
    toy bridge    ${urls.bridgeUrl}   gets what crossfade does not know
    metrics       http://127.0.0.1:${urls.adminPort}/metrics

  Broadcast a message as the backend does; it shows on the page:

    curl -X POST ${urls.ingressUrl}/internal/chat/message \\
      -H 'X-Internal-Api-Key: ${apiKey}' -H 'Content-Type: application/json' \\
      -d '{"event_id":"hello-1","request_id":"${room}","message":{"id":"m1","requestId":"${room}","senderId":"curl","content":"Hello from curl","createdAt":"2026-01-16T10:30:00Z"}}'

  The same again answers {"duplicate":true} and shows nothing. Ctrl-C ends the demo.
`);
}
