// What was done to the cutover, in the log of every replica: in come the states that it adopts, out goes a line a change.

import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { Logger } from '../telemetry/logger.ts';

export function tellChanges(roomLanes: Pick<RoomLanes, 'onAdopted'>, logger: Logger): void {
  roomLanes.onAdopted(({ epoch, history }, before) => {
    const steps = history.filter((step) => step.epoch > before.epoch);
    const last = steps.at(-1);
    // A step without words is the machinery's own (event ids begin to be remembered).
    if (last === undefined) return logger.debug({ epoch }, 'a cutover state was adopted');
    const { from, to, what, who: by, why, when } = last;
    // Who starts, or was away, takes over many at once: `show` has them all.
    logger.info(
      { epoch, from, to, what, by, ...(why !== undefined && { why }), when, steps: steps.length },
      'the cutover has changed',
    );
  });
}
