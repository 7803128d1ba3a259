// Opening a server's port: in come a server, an address and the setting that says so, out goes the address that it really has
// (port 0 is any).

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { HostPort } from './config.ts';
import { CrossfadeError } from './errors.ts';

/**
 * @param setting as an operator knows it, such as `--listen (CROSSFADE_LISTEN)`
 * Error: CONFIG_INVALID where the address is taken or not ours.
 */
export function listenOn(server: Server, { host, port }: HostPort, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message = `${setting}: cannot listen on ${host}:${port} (${cause.code})`;
      reject(new CrossfadeError('CONFIG_INVALID', message, { cause }));
    });
    server.listen(port, host, resolve);
  });
}

export function addressOf(server: Server): HostPort {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}
