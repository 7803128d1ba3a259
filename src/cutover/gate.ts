// Where calls wait while their room changes lane. In come rooms to close for and to open, out go waiting calls, in the
// order in which they came.

interface Closing {
  covers(room: string): boolean;
  opened: Promise<void>;
  open(): void;
}

export class Gate {
  readonly #closings = new Map<string, Closing>();

  /** Calls of these rooms wait from now on, until open() with the same id. */
  close(id: string, covers: (room: string) => boolean): void {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    this.open(id);
    this.#closings.set(id, { covers, opened, open });
  }

  open(id: string): void {
    this.#closings.get(id)?.open();
    this.#closings.delete(id);
  }

  /** What a call of this room waits for first; undefined: it may go on. Ask again afterwards. */
  waitFor(room: string): Promise<void> | undefined {
    for (const closing of this.#closings.values()) if (closing.covers(room)) return closing.opened;
    return undefined;
  }
}
