// The way to the replicas that hold connections. In come a replica and a client's request for it, out goes its answer, whose body has not
// been read. Promises: connections are signed before they are used (peers/peer-connection.ts), kept for the next request, and let go
// where the replica is not reached, or not needed any more.

import type { Socket } from 'node:net';
import { Pool } from 'undici';
import { type BridgeRequest, type BridgeResponse, maxHeaderBytes } from '../../bridge/client.ts';
import { dialPeer, type Peer, PeerUnreachable } from '../../peers/peer-connection.ts';
import type { PeerSignature } from '../../peers/peer-signature.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';

export interface HoldersOptions {
  signature: PeerSignature;
  clock: Clock;
  faults: Faults;
}

type DialCallback = Parameters<Extract<Pool.Options['connect'], (...given: never[]) => unknown>>[1];

/** Of an answer that its client does not take, before no more is read of the holder; as much again waits in the client's own response. */
const maxWaitingBytes = 16 * 1024;

export class Holders {
  readonly #options: HoldersOptions;
  readonly #pools = new Map<string, { admin: string; pool: Pool }>();

  constructor(options: HoldersOptions) {
    this.#options = options;
  }

  /** Error: PeerUnreachable where nothing of the request can have come there. */
  async ask(holder: Peer, { method, url, headers, body, signal }: BridgeRequest): Promise<BridgeResponse> {
    const pool = this.#poolOf(holder);
    try {
      return await pool.request({
        method: method as 'GET',
        path: url,
        headers,
        body: body as null,
        signal: signal ?? null,
        responseHeaders: 'raw',
        highWaterMark: maxWaitingBytes,
      });
    } catch (error) {
      if (error instanceof PeerUnreachable) this.#letGo(holder, pool);
      throw error;
    }
  }

  /** To how many replicas there is a way now. */
  get count(): number {
    return this.#pools.size;
  }

  /** What is under way breaks off. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#pools.values(), ({ pool }) => pool.destroy()));
  }

  #poolOf(holder: Peer): Pool {
    const known = this.#pools.get(holder.instance);
    if (known?.admin === holder.admin) return known.pool;
    if (known !== undefined) this.#letGo(holder, known.pool);
    let sockets = 0;
    // A replica that has ended is not asked again, and the one in its place has another name.
    const onClose = () => --sockets === 0 && this.#letGo(holder, pool);
    const onOpen = (socket: Socket) => {
      sockets++;
      socket.once('close', onClose);
    };
    const pool = new Pool(holder.admin, {
      connect: (_, callback) => this.#dial(holder, onOpen, callback),
      pipelining: 1,
      allowH2: false,
      // A poll takes 90 s, an event stream as long as it likes.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: maxHeaderBytes,
    });
    this.#pools.set(holder.instance, { admin: holder.admin, pool });
    return pool;
  }

  #dial(holder: Peer, onOpen: (socket: Socket) => void, callback: DialCallback): void {
    const { signature, clock, faults } = this.#options;
    const dialled = dialPeer(holder, signature, clock).then(
      (socket) => {
        onOpen(socket);
        callback(null, socket);
      },
      (error) => callback(error, null),
    );
    faults.contain('peer', () => dialled);
  }

  /** What is under way there is brought to its end. */
  #letGo({ instance }: Peer, pool: Pool): void {
    if (this.#pools.get(instance)?.pool === pool) this.#pools.delete(instance);
    pool.close().catch(() => {});
  }
}
