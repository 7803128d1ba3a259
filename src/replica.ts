// One replica: its stages are made in the order in which the data flows, connected, and ended in that order too.
// Promises: the backend's side opens at once, the clients' side as soon as they miss nothing; a stop loses nothing that was accepted.

import { ClientsSide } from './clients-side.ts';
import type { Config, HostPort } from './config.ts';
import { checksOf, listenAdmin, listenHealth, listenIngress } from './doors.ts';
import { leaveBridge, makeParts } from './parts.ts';
import { makeCompare, makeCutover, makeEdge, makeLanes, makePlans } from './stages.ts';
import type { Logger } from './telemetry/logger.ts';

/** ms that the calls under way may take when the replica stops. */
const callsDrainMs = 5_000;

export interface Replica {
  /** undefined: an edge alone. */
  readonly listen: HostPort | undefined;
  readonly admin: HostPort;
  readonly health: HostPort | undefined;
  /** The client side's address, once clients may come; undefined: an ingress alone. Errors: LOG_*, CONFIG_INVALID. */
  readonly ready: Promise<HostPort | undefined>;
  /** Rejects if the log refuses this replica, also after it was ready. Errors: LOG_INSTANCE_TAKEN, CONFIG_INVALID. */
  readonly failed: Promise<never>;
  /** Where its flags, as they hold here, say that hub connections end. */
  readonly hubs: Config['hubs'];
  /** The share of rooms on the stream lane, as it holds here now. */
  percent(): number;
  /** Counts and logs what no boundary caught, and calls `onLost`. */
  coreFailed(error: unknown): void;
  /**
   * Lets the clients go, at the configured rate, and goes on taking calls and showing events. Asked again, by whomever, it is
   * the same drain. Never rejects.
   */
  drain(): Promise<void>;
  /** Ends it, ready or not; who is still connected is closed at once. */
  stop(): Promise<void>;
}

/**
 * Starts one replica. Errors: CONFIG_INVALID, CONTRACT_INVALID; without a bridge LOG_UNAVAILABLE.
 * @param onLost called if it cannot go on and must be stopped: another process has taken its name, or its core has failed
 */
export async function startReplica(given: Config, logger: Logger, onLost: (why: string) => void): Promise<Replica> {
  // Make: what several stages share, then the stages, each from what stands above it.
  const parts = await makeParts(given, logger, onLost);
  const { config } = parts;
  const coreFailed = (error: unknown) => {
    parts.faults.report('core', error);
    onLost('a fault at the core');
  };
  const edge = makeEdge(config, parts);
  let stopping = false;
  const aroundClients = () => ({ isDraining: stopping || clientsSide.isDraining, probeMs: clientsSide.probeMs });
  const cutover = makeCutover(config, parts, edge, aroundClients);
  const plans = makePlans(config, parts, cutover);
  const compare = makeCompare(config, parts, cutover, edge);
  const lanes = makeLanes(config, parts, cutover, compare);
  const clientsSide = new ClientsSide({ ...parts, config, edge, cutover, coreFailed });

  // Connect: what flows back, then the doors.
  cutover.connect(lanes);
  edge.connect({
    publish: (event) => lanes.publish(event),
    untilLogIsRead: () => cutover.roomLanes.untilCaughtUp(),
    onHubTyping: ({ room, user }) => cutover.onHubTyping(room, user),
    others: cutover.others,
  });
  parts.faults.contain('core', () => cutover.learn());
  const ingress = config.listen && (await listenIngress(config, config.listen, parts, { cutover, lanes }));
  const opening = clientsSide.open();
  // Whoever looks at `failed` gets the error; until then it is nobody's.
  opening.catch(() => {});
  const checks = () => checksOf(config, parts, { edge, cutover, clientsSide, stopping });
  const admin = await listenAdmin(config, parts, { edge, cutover, plans, compare, lanes, clientsSide, checks });
  const health = config.health && (await listenHealth(config.health, parts, { clientsSide, checks }));
  if (config.insecure) logger.warn('--insecure: whoever reaches the ports may broadcast, listen and look');

  return {
    listen: ingress?.address,
    admin: admin.address,
    health: health?.address,
    ready: clientsSide.opened,
    failed: opening.then(() => new Promise<never>(() => {})),
    hubs: config.hubs,
    percent: () => cutover.roomLanes.percent,
    coreFailed,
    drain: () => clientsSide.drain(),
    async stop() {
      stopping = true;
      await ingress?.drain(callsDrainMs);
      await lanes.drain();
      await clientsSide.close();
      plans.close();
      compare.close();
      cutover.close();
      await parts.log.close();
      await leaveBridge(parts);
      admin.close();
      health?.close();
    },
  };
}
