// Sets of rooms, as values: names, or all rooms, or all but some. In comes a room, out goes whether it is one of them. A set of names
// is a plain Set; which rooms a change of the cutover moves is in rooms/state.ts.

export interface RoomSet {
  has(room: string): boolean;
}

export const allRooms: RoomSet = Object.freeze({ has: () => true });

/** These rooms without those. */
export function except(rooms: RoomSet, those: ReadonlySet<string>): RoomSet {
  return those.size === 0 ? rooms : { has: (room) => rooms.has(room) && !those.has(room) };
}
