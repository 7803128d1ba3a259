// The calls that are under way on a lane, by room. In come starts and ends, out goes the moment at which none of certain
// rooms is under way any more.

interface Flight {
  room: string;
  landed: Promise<void>;
}

export class Flights {
  readonly #flights = new Set<Flight>();

  /** @returns ends the flight */
  start(room: string): () => void {
    const { promise: landed, resolve } = Promise.withResolvers<void>();
    const flight: Flight = { room, landed };
    this.#flights.add(flight);
    return () => {
      this.#flights.delete(flight);
      resolve();
    };
  }

  /** Resolves when the calls that are under way now have ended. */
  async landed(covers: (room: string) => boolean): Promise<void> {
    await Promise.all([...this.#flights].filter(({ room }) => covers(room)).map((flight) => flight.landed));
  }

  /** The rooms with a call under way. */
  rooms(covers: (room: string) => boolean): string[] {
    return [...new Set([...this.#flights].map(({ room }) => room).filter(covers))];
  }
}
