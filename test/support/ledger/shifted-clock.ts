// Preloaded into a replica's process (`NODE_OPTIONS=--import …`): its wall clock is off by CLOCK_OFFSET_MS, as on a host
// without NTP. Monotonic time and timers are as they are, as there.

const offsetMs = Number(process.env.CLOCK_OFFSET_MS);
const RealDate = Date;

class ShiftedDate extends RealDate {
  constructor(...args: [] | [string | number | Date]) {
    if (args.length === 0) super(ShiftedDate.now());
    else super(...args);
  }

  static override now(): number {
    return RealDate.now() + offsetMs;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
