// Which lane a room's events take: in goes a room, out comes its delivering lane.
// Promises: a room's lane depends on its bucket and the percent alone, and a higher percent only adds rooms.

import type { Lane } from '../lanes/lanes.ts';
import { bucketOf } from './bucket.ts';

export class Cutover {
  readonly percent: number;
  readonly mirror: boolean;

  /** @param state percent: 0-100, the share of rooms on the stream lane; mirror: shadow bridge-lane events */
  constructor(state: { percent: number; mirror: boolean }) {
    this.percent = state.percent;
    this.mirror = state.mirror;
  }

  laneOf(room: string): Lane {
    return bucketOf(room) < this.percent ? 'stream' : 'bridge';
  }

  /** Whether event ids are remembered here; if not, the bridge's own memory answers repeats, as without crossfade. */
  get remembersIds(): boolean {
    return this.percent > 0 || this.mirror;
  }
}
