// A connection of one replica to another, for the requests of clients. In comes a replica as the roster names it, or the request of one
// that does so; out goes a socket that speaks HTTP from there on, or a refusal.
// Promises: before a byte of a client goes over it both ends have proven that they know what all replicas have in common, and that they
// mean each other by name and address: whoever stands at an address that the log names learns nothing, also if he passes the proof on.

import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../telemetry/clock.ts';
import { addresseeHeader, type PeerSignature, signatureHeader, unsigned } from './peer-signature.ts';

/** A replica, and where its admin port is: `http://host:port`. */
export interface Peer {
  instance: string;
  admin: string;
}

const path = '/edge/connection';
const protocol = 'crossfade-edge';
/** ms for all of it. A replica that stands still for longer counts as gone; its clients come back to another one. */
const dialMs = 5_000;

/** No connection came about, so that nothing has been sent over it. */
export class PeerUnreachable extends Error {}

/** Error: PeerUnreachable. */
export function dialPeer({ instance, admin }: Peer, signature: PeerSignature, clock: Clock): Promise<Socket> {
  const signed = signature.sign(path, instance, admin);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const fail = (why: string, cause?: unknown) => reject(new PeerUnreachable(`${instance}: ${why}`, { cause }));
  const dial = request(new URL(path, admin), {
    agent: false,
    headers: {
      Connection: 'Upgrade',
      Upgrade: protocol,
      [addresseeHeader]: encodeURIComponent(instance),
      ...(signed !== undefined && { [signatureHeader]: signed }),
    },
  });
  const cancel = clock.after(dialMs, () => dial.destroy(new Error(`no answer within ${dialMs} ms`)));
  dial.once('upgrade', (answer: IncomingMessage, socket: Socket, head: Buffer) => {
    const isProven = signed === undefined || signature.isAnswer(signed, answer.headers[signatureHeader]?.toString());
    if (isProven && head.length === 0) return resolve(socket);
    socket.destroy();
    fail('what answers there is not this replica');
  });
  dial.once('response', (answer) => {
    dial.destroy();
    fail(`it has answered ${answer.statusCode}`);
  });
  dial.on('error', (cause) => fail(cause.message, cause));
  dial.end();
  return promise.finally(cancel);
}

/** Whether a request at the admin port is another replica's for such a connection. */
export function asksForConnection({ method, url, headers }: IncomingMessage): boolean {
  return method === 'GET' && url === path && headers.upgrade === protocol;
}

/**
 * Answers it: with consent the socket is the caller's, else it is refused. Errors: PEER_UNSIGNED, of a request that is still to be refused.
 * @param own this replica, as it names itself to the others
 */
export function acceptPeer(request: IncomingMessage, signature: PeerSignature, own: Peer): Socket {
  const signed = request.headers[signatureHeader]?.toString();
  const means = signature.check(path, signed);
  if (!means(Buffer.from(own.admin))) throw unsigned('it was meant for another address');
  const { socket } = request;
  const proof = signed === undefined ? undefined : signature.answer(signed);
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', `Upgrade: ${protocol}`];
  if (proof !== undefined) lines.push(`${signatureHeader}: ${proof}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  return socket;
}
