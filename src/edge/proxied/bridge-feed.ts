// What the bridge says on one connection, on its way to the client. In comes what the transport reads, a piece at a time; out it goes
// in the same order. Promises: nothing is read ahead of a client that does not take it, nor while this replica has not read the log for a
// while (what stands there comes first); what came meanwhile waits here.

/** Bytes that may wait for the client before the bridge is not read any more. */
const highWaterBytes = 256 * 1024;

export interface BridgeFeedParts<Piece> {
  /** Where the pieces are read. */
  bridge: { pause(): unknown; resume(): unknown };
  /** See {@link Tap.untilReady}. */
  untilReady(): Promise<void> | undefined;
  /** Shows a piece to the Tap and hands to the client what is left of it. */
  pass(piece: Piece): void;
  /** Bytes waiting for the client. */
  backlogBytes(): number;
  /** What goes wrong in it ends the connection. */
  contain(run: () => unknown): void;
}

export class BridgeFeed<Piece> {
  readonly #parts: BridgeFeedParts<Piece>;
  /** What came while the Tap was not ready for it; undefined while it is. */
  #early: Piece[] | undefined;
  /** The client has not taken what was read before. */
  #isAhead = false;

  constructor(parts: BridgeFeedParts<Piece>) {
    this.#parts = parts;
  }

  /** Whether what the bridge sends is being read, as far as the client's taking it is concerned. */
  get reads(): boolean {
    return !this.#isAhead;
  }

  take(piece: Piece): void {
    const { bridge, untilReady, contain } = this.#parts;
    const ready = this.#early === undefined ? untilReady() : undefined;
    if (ready !== undefined) {
      this.#early = [];
      bridge.pause();
      contain(() => ready.then(() => this.passEarly()));
    }
    if (this.#early === undefined) this.#pass(piece);
    else this.#early.push(piece);
  }

  /** What waits goes on at once: the Tap is ready, or the bridge has ended. */
  passEarly(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const piece of early) this.#pass(piece);
    if (!this.#isAhead) this.#parts.bridge.resume();
  }

  /** The client has taken what was written to it. */
  drained(): void {
    this.#isAhead = false;
    if (this.#early === undefined) this.#parts.bridge.resume();
  }

  #pass(piece: Piece): void {
    const { bridge, pass, backlogBytes } = this.#parts;
    pass(piece);
    if (backlogBytes() <= highWaterBytes) return;
    this.#isAhead = true;
    bridge.pause();
  }
}
