// The health port: `/startupz`, `/livez` and `/readyz` for whoever starts and ends replicas from outside this machine (a kubelet
// asks from its node). In comes a GET of anybody, out goes a status. Promises: no token is asked for, and nothing is told
// beyond yes or no; who holds on to a connection is gone within seconds. An answer at all is the proof that `/livez` asks for.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type HostPort, nameOf } from '../config.ts';
import { addressOf, listenOn } from '../listen.ts';
import { endWithinBound } from '../refusal.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';

export interface HealthPortOptions {
  listen: HostPort;
  /** Whether every side that this replica has was opened, once. */
  hasStarted(): boolean;
  /** Whether it can do its own job now. */
  isReady(): boolean;
  clock: Clock;
  faults: Faults;
}

const limits = {
  headersTimeout: 2_000,
  requestTimeout: 2_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8_192,
};
/** Probes come one after the other; as many as this come of something else. */
const maxConnections = 1_000;

export class HealthPort {
  readonly #options: HealthPortOptions;
  readonly #server: Server;

  private constructor(options: HealthPortOptions) {
    this.#options = options;
    this.#server = createServer(limits, (request, response) => {
      const handle = () => this.#answer(request, response);
      options.faults.contain('admin', handle, () => response.destroy());
    });
    this.#server.maxConnections = maxConnections;
  }

  /** Error: CONFIG_INVALID where the address is taken or not ours. */
  static async listen(options: HealthPortOptions): Promise<HealthPort> {
    const port = new HealthPort(options);
    await listenOn(port.#server, options.listen, nameOf('health'));
    return port;
  }

  get address(): HostPort {
    return addressOf(this.#server);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.shouldKeepAlive = false;
    response.once('finish', () => endWithinBound(request.socket, this.#options.clock));
    response.writeHead(this.#statusFor(request), { 'Content-Length': 0 }).end();
  }

  #statusFor({ method, url }: IncomingMessage): number {
    const { hasStarted, isReady } = this.#options;
    const probes: Record<string, () => boolean> = {
      '/startupz': hasStarted,
      '/livez': () => true,
      '/readyz': isReady,
    };
    const path = url!.split('?', 1)[0]!;
    if (!Object.hasOwn(probes, path)) return 404;
    if (method !== 'GET' && method !== 'HEAD') return 405;
    return probes[path]!() ? 200 : 503;
  }
}
