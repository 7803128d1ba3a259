// The roster's counters by their names: who counts (native hubs, proxied connections, stand-ins, the memory of ids) and who adds up over all
// replicas (the bridge's reads, the guard) must mean the same.

const userPrefix = 'user:';

export const counterNames = {
  /** Native connections. */
  connections: 'connections',
  /** Rooms with native members. */
  rooms: 'rooms',
  /** Connections that are passed on to a bridge. */
  proxied: 'proxied',
  /** crossfade's own connections at a bridge, in place of users' native ones. */
  standIns: 'stand-ins',
  /** Event ids that are remembered. */
  ids: 'ids',
  /** Connections of one user: native ones, and proxied ones while any hub is native. */
  ofUser: (user: string) => userPrefix + user,
};

export function isOfUser(counter: string): boolean {
  return counter.startsWith(userPrefix);
}
