// The admin port: /metrics for Prometheus, /healthz and /readyz for whoever starts and stops replicas, /check and /cutover for
// the operator (see cutover-routes.ts), `/` for the operator's page (see page-files.ts, live.ts), `POST /drain` for the end of a
// replica, as often as somebody waits for it.
// Promises: beyond loopback nothing but the page's files is answered without the admin token, nor to a web page of another site,
// which reaches loopback through the operator's browser; where there is a token, a page changes nothing without it on loopback
// either; what replicas say to each other is heard by its signature alone.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { networkInterfaces } from 'node:os';
import { type HostPort, isLoopback, nameOf } from '../config.ts';
import { addressOf, listenOn } from '../listen.ts';
import { asksForConnection } from '../peers/peer-connection.ts';
import { isSecret } from '../secret.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { writeJson } from './answers.ts';
import { answerCompare, type CompareRoutesOptions } from './compare-routes.ts';
import { answerCutover, type CutoverRoutesOptions } from './cutover-routes.ts';
import type { Live } from './live.ts';
import { answerPageFile } from './page-files.ts';
import { admitPeer, answerPeer, isPeerWord, type PeerRoutesOptions } from './peer-routes.ts';

export interface Check {
  ok: boolean;
  /** What is so, in words for the operator. */
  detail: string;
}

/** How far the clients have left, where a replica ends. */
export interface Drained {
  /** Clients that are still connected; 0 as long as it does not end. */
  remaining: number;
  done: boolean;
}

export interface AdminOptions {
  listen: HostPort;
  /** undefined: callers beyond loopback are let in only if `insecure`. */
  token: string | undefined;
  insecure: boolean;
  faults: Faults;
  metrics: Metrics;
  /** Brings the gauges up to date that are only read at a scrape. */
  beforeScrape(): Promise<void>;
  readiness(): Record<string, Check>;
  /** Begins to let the clients go, unless that has begun. @returns how far it has come */
  drain(): Drained;
  /** Whether everything is as it must be; takes seconds. */
  check(): Promise<object>;
  cutover: CutoverRoutesOptions;
  peers: PeerRoutesOptions;
  compare: CompareRoutesOptions;
  live: Pick<Live, 'watch'>;
}

export class Admin {
  readonly #options: AdminOptions;
  readonly #server: Server;

  private constructor(options: AdminOptions) {
    this.#options = options;
    this.#server = createServer({ shouldUpgradeCallback: asksForConnection }, (request, response) => {
      options.faults.contain('admin', () => this.#handle(request, response));
    });
    this.#server.on('upgrade', (request) => {
      const { socket } = request;
      socket.on('error', () => socket.destroy());
      options.faults.contain(
        'peer',
        () => this.#onPeer(request),
        () => socket.destroy(),
      );
    });
  }

  static async listen(options: AdminOptions): Promise<Admin> {
    const admin = new Admin(options);
    await listenOn(admin.#server, options.listen, nameOf('admin'));
    return admin;
  }

  get address(): HostPort {
    return addressOf(this.#server);
  }

  /** As other hosts can use it, where it listens beyond loopback. */
  get url(): string {
    return reachableUrl(this.address);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      // Who asked has hung up: there is nobody to answer.
      if (response.destroyed) return;
      this.#options.faults.report('admin', error);
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (answerPageFile(request, response)) return;
    const fromPeer = isPeerWord(request);
    const isSigned = this.#options.peers.signature.isRequired && fromPeer;
    if (!isSigned && !this.#mayAsk(request)) {
      response.writeHead(401, ['WWW-Authenticate', 'Bearer']).end();
      return;
    }
    const pages: Record<string, (response: ServerResponse) => Promise<void> | void> = {
      '/metrics': (answer) => this.#metrics(answer),
      '/healthz': (answer) => writeJson(answer, 200, { status: 'alive' }),
      '/readyz': (answer) => this.#readyz(answer),
      '/check': async (answer) => writeJson(answer, 200, await this.#options.check()),
      '/cutover/live': (answer) => this.#options.live.watch(request, answer, this.#mayChange(request)),
    };
    if (fromPeer) return answerPeer(request, response, this.#options.peers);
    if (await answerCutover(request, response, this.#options.cutover)) return;
    if (await answerCompare(request, response, this.#options.compare)) return;
    const path = request.url!.split('?', 1)[0]!;
    const page = pages[path];
    if (path === '/drain' && request.method === 'POST') writeJson(response, 200, this.#options.drain());
    else if (page === undefined)
      writeJson(response, 404, { error: 'not found', pages: [...Object.keys(pages), '/cutover', '/compare'] });
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      response.writeHead(405, ['Allow', 'GET, HEAD']).end();
    else await page(response);
  }

  /** Another replica asks for a connection for requests of its clients. */
  #onPeer(request: IncomingMessage): void {
    const { peers } = this.#options;
    const mayAsk = peers.signature.isRequired || this.#mayAsk(request);
    admitPeer(request, mayAsk, this.url, peers);
  }

  #mayAsk(request: IncomingMessage): boolean {
    const { token, insecure } = this.#options;
    if (this.#hasToken(request)) return true;
    if (isForeignPage(request)) return false;
    // Browsers name the page with whatever changes something.
    if (request.headers.origin !== undefined && !this.#mayChange(request)) return false;
    if (isLoopback(request.socket.remoteAddress ?? '')) return isAskedHere(request);
    return token === undefined && insecure;
  }

  /** Of a page that somebody has open: it may be theirs who found the browser. */
  #mayChange(request: IncomingMessage): boolean {
    return this.#options.token === undefined || this.#hasToken(request);
  }

  #hasToken({ headers: { authorization = '' } }: IncomingMessage): boolean {
    const { token } = this.#options;
    return token !== undefined && isSecret(authorization, `Bearer ${token}`);
  }

  async #metrics(response: ServerResponse): Promise<void> {
    const { metrics, beforeScrape } = this.#options;
    await beforeScrape();
    const text = await metrics.registry.metrics();
    response.writeHead(200, ['Content-Type', metrics.registry.contentType]).end(text);
  }

  #readyz(response: ServerResponse): void {
    const checks = this.#options.readiness();
    const ready = allPass(checks);
    writeJson(response, ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', checks });
  }
}

export function allPass(checks: Record<string, Check>): boolean {
  return Object.values(checks).every(({ ok }) => ok);
}

/** Whether loopback was asked for by a name of its own: a page may let its own name point here (DNS rebinding). */
function isAskedHere({ headers: { host = 'localhost' } }: IncomingMessage): boolean {
  return isLoopback(host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'));
}

/** Browsers say which page asks; a POST of any page comes without a question beforehand (CORS). */
function isForeignPage({ headers: { origin, host } }: IncomingMessage): boolean {
  return origin !== undefined && origin !== `http://${host}`;
}

/** The admin port's address as other hosts can use it, where it listens beyond loopback. */
function reachableUrl({ host, port }: HostPort): string {
  const isAny = host === '0.0.0.0' || host === '::';
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((face) => face !== undefined && !face.internal && face.family === 'IPv4');
  const name = isAny ? (outside?.address ?? '127.0.0.1') : host;
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`;
}
