// Every metric of crossfade, by its Prometheus name: the ones that the operators' dashboards already query (with their
// labels), and crossfade's own. In come observations from all stages, out comes the text of /metrics.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type FailureReason, failureReasons } from '../errors.ts';

/** 0.5 ms to 5 s. */
export const secondsBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

export type Transport = 'http' | 'redis_streams';

/** Why an event is not in a proven order, see `crossfade_order_unfenced_total`. */
const unfencedReasons = ['unread', 'other_replica', 'state_unknown', 'in_doubt'] as const;
export type UnfencedReason = (typeof unfencedReasons)[number];

/** Where something from outside was being handled when a fault was caught, see faults.ts; `core`: the consumer loop, or no boundary at all. */
export const faultPlaces = [
  'ingress',
  'edge',
  'client',
  'bridge',
  'entry',
  'note',
  'peer',
  'admin',
  'timer',
  'core',
] as const;
export type FaultPlace = (typeof faultPlaces)[number];

/** What a client, a call or an entry can exceed. */
export const budgets = [
  'client_bytes',
  'client_records',
  'client_invocations',
  'client_publishes',
  'client_rooms',
  'name_length',
  'call_bytes',
  'typing_notes',
  'log_bytes',
  'request_line',
  'pipelined_requests',
] as const;
export type Budget = (typeof budgets)[number];

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  // Gauges under the name of a counter; each stands beside one by kind that has a right name.
  for (const kind of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  const metrics = {
    registry,
    faults: new Counter<'where'>({
      name: 'crossfade_faults_total',
      help: 'Faults caught at the boundary around what comes from outside, by where it was handled',
      labelNames: ['where'],
      registers,
    }),
    overBudget: new Counter<'budget'>({
      name: 'crossfade_budget_exceeded_total',
      help: 'What was refused or closed because a client, a call or an entry exceeded its budget',
      labelNames: ['budget'],
      registers,
    }),
    compareDifferences: new Counter<'kind'>({
      name: 'crossfade_compare_differences_total',
      help: 'Differences between the lanes that a compare has found, by kind; foreign: somebody else writes to the bridge in rooms of the stream lane',
      labelNames: ['kind'],
      registers,
    }),
    publishDuration: new Histogram({
      name: 'event_publish_duration_seconds',
      help: 'From the call in hand to the answer of its lane',
      labelNames: ['transport', 'event_type'],
      buckets: secondsBuckets,
      registers,
    }),
    deliveryDuration: new Histogram({
      name: 'event_delivery_duration_seconds',
      help: 'From publish to broadcast; by the bridge lane (http) from the call in hand to the 200 of the bridge, which comes after its broadcast',
      labelNames: ['event_type', 'transport'],
      buckets: secondsBuckets,
      registers,
    }),
    queueDepth: new Gauge({
      name: 'event_queue_depth',
      help: 'Entries in a stream',
      labelNames: ['stream'],
      registers,
    }),
    controlDepth: new Gauge({
      name: 'crossfade_control_depth',
      help: "Entries in a stream of the replicas' notes to each other",
      labelNames: ['stream'],
      registers,
    }),
    controlLag: new Gauge({
      name: 'crossfade_control_lag',
      help: 'Notes of other replicas that this one has not acknowledged yet',
      labelNames: ['stream'],
      registers,
    }),
    bridgeReachable: new Gauge({
      name: 'crossfade_bridge_reachable',
      help: '1 while this bridge answers, else 0',
      labelNames: ['bridge'],
      registers,
    }),
    logReachable: new Gauge({ name: 'crossfade_log_reachable', help: '1 while the log answers, else 0', registers }),
    buildInfo: new Gauge({
      name: 'crossfade_build_info',
      help: 'Always 1; what runs here stands in the labels',
      labelNames: ['version', 'node', 'contract'],
      registers,
    }),
    published: new Counter({
      name: 'events_published_total',
      help: 'Events by lane and outcome (success, duplicate, failure)',
      labelNames: ['transport', 'event_type', 'status'],
      registers,
    }),
    coalesced: new Counter({
      name: 'events_coalesced_total',
      help: 'Events that were merged into another one',
      labelNames: ['event_type'],
      registers,
    }),
    consumerLag: new Gauge({
      name: 'event_consumer_lag',
      help: 'Entries that this replica has not acknowledged yet',
      labelNames: ['stream', 'consumer_group'],
      registers,
    }),
    fallback: new Counter<'reason'>({
      name: 'event_transport_fallback_total',
      help: 'Calls that the log could not take and that went to the bridge',
      labelNames: ['reason'],
      registers,
    }),
    dualWriteStatus: new Gauge({
      name: 'event_dual_write_status',
      help: '1 while mirroring is on and its last event reached both sides, else 0',
      registers,
    }),
    dualWriteSuccess: new Counter({
      name: 'event_dual_write_success_total',
      help: 'Mirrored events that reached this side',
      labelNames: ['transport'],
      registers,
    }),
    dualWriteFailure: new Counter({
      name: 'event_dual_write_failure_total',
      help: 'Mirrored events that did not reach this side',
      labelNames: ['transport'],
      registers,
    }),
    answers: new Counter({
      name: 'crossfade_ingress_answers_total',
      help: "Answers to the backend's calls, by status",
      labelNames: ['status'],
      registers,
    }),
    callsInFlight: new Gauge({
      name: 'crossfade_ingress_calls_in_flight',
      help: 'Calls without an answer yet',
      registers,
    }),
    bridgeQueue: new Gauge({
      name: 'crossfade_bridge_requests_in_flight',
      help: 'Requests at the bridge or queued in front of it',
      registers,
    }),
    coalescingWindows: new Gauge({ name: 'crossfade_coalescing_windows', help: 'Open coalescing windows', registers }),
    coalescedLost: new Counter({
      name: 'crossfade_coalesced_lost_total',
      help: 'Coalesced events that neither log nor bridge took, or that found no free window',
      labelNames: ['event_type'],
      registers,
    }),
    delivered: new Counter({
      name: 'crossfade_entries_delivered_total',
      help: 'Entries that were handed to the edge',
      labelNames: ['stream'],
      registers,
    }),
    withheld: new Counter({
      name: 'crossfade_entries_withheld_total',
      help: 'Entries that were not shown: repeat, history (from before an outage), typing (older than its message) or bridge (shown by the bridge, as the append had no answer)',
      labelNames: ['reason'],
      registers,
    }),
    malformed: new Counter({
      name: 'crossfade_entries_malformed_total',
      help: 'Entries that could not be understood and were set aside',
      labelNames: ['stream'],
      registers,
    }),
    missed: new Counter({
      name: 'crossfade_entries_missed_total',
      help: 'Entries that were trimmed before this replica had read them',
      registers,
    }),
    unfenced: new Counter({
      name: 'crossfade_order_unfenced_total',
      help: 'Events that are not in a proven order with the other lane: unread (not shown in time), other_replica, state_unknown (sent by a replica that had not read the shared state) or in_doubt (it may be on both lanes, and a replica was not reached, or did not learn what became of it: that one may show it twice)',
      labelNames: ['reason'],
      registers,
    }),
    cutoverPercent: new Gauge({
      name: 'crossfade_cutover_percent',
      help: 'Share of rooms on the stream lane, as it holds now on this replica',
      registers,
    }),
    cutoverEpoch: new Gauge({
      name: 'crossfade_cutover_epoch',
      help: 'Number of the cutover state that this replica has adopted',
      registers,
    }),
    guardSurplus: new Gauge({
      name: 'crossfade_guard_surplus',
      help: 'Connections at the bridge that no replica has; while rooms are on the stream lane they miss events',
      registers,
    }),
    withoutAudience: new Counter({
      name: 'crossfade_calls_without_audience_total',
      help: 'Calls accepted while no bridge can be reached, and so no client behind one',
      registers,
    }),
    connections: new Gauge({
      name: 'crossfade_edge_connections',
      help: 'Open hub connections of this replica',
      labelNames: ['hub'],
      registers,
    }),
    connectionsClosed: new Counter({
      name: 'crossfade_edge_connections_closed_total',
      help: 'Hub connections that ended, by reason',
      labelNames: ['hub', 'reason'],
      registers,
    }),
    probeAge: new Gauge({
      name: 'crossfade_probe_age_seconds',
      help: 'How long ago the newest probe was sent that has come back through log, consumer and fan-out; one goes out each second',
      registers,
    }),
    drainRemaining: new Gauge({
      name: 'crossfade_drain_remaining',
      help: 'Clients that a replica which ends has still to let go; 0 on any other',
      registers,
    }),
    framesWritten: new Counter({
      name: 'crossfade_edge_frames_total',
      help: 'Prepared frames written to connections',
      registers,
    }),
    fences: new Counter<'outcome'>({
      name: 'crossfade_fences_total',
      help: 'Fences of proxied connections that came back, or whose connection was gone first',
      labelNames: ['outcome'],
      registers,
    }),
    fenceQueue: new Gauge({
      name: 'crossfade_fence_queue_messages',
      help: 'Messages of the log that wait at proxied connections for a fence',
      registers,
    }),
    uncertain: new Counter<'outcome'>({
      name: 'crossfade_appends_uncertain_total',
      help: 'Appends without an answer: read (a replica had read it, so it was kept), bridge (it went there, and the copy in the log is withheld) or in_doubt (the bridge did not answer 200: both copies may be shown)',
      labelNames: ['outcome'],
      registers,
    }),
    relayed: new Gauge({
      name: 'crossfade_edge_relayed_requests',
      help: "Clients' requests that are under way here to the replica that holds their connection",
      registers,
    }),
    relays: new Counter<'outcome'>({
      name: 'crossfade_edge_relays_total',
      help: 'Requests that another replica holds the connection of: answered by it, gone (no such replica is live), unreachable (it could not be connected with), broken (it gave no whole answer) or refused (too many under way)',
      labelNames: ['outcome'],
      registers,
    }),
    slowClients: new Counter({
      name: 'crossfade_edge_slow_clients_total',
      help: 'Connections that were cut because they read too slowly',
      registers,
    }),
  };
  // A counter that appears with its first event hides that event from increase().
  for (const where of faultPlaces) metrics.faults.inc({ where }, 0);
  for (const budget of budgets) metrics.overBudget.inc({ budget }, 0);
  for (const outcome of ['answered', 'gone', 'unreachable', 'broken', 'refused']) metrics.relays.inc({ outcome }, 0);
  return metrics;
}

/**
 * Sets to 0 every counter whose labels are known beforehand: one that appears with its first event hides it from increase().
 * @param known.transports the lanes that there are
 */
export function presetLabels(
  metrics: Metrics,
  known: { transports: Transport[]; eventTypes: string[]; coalescedTypes: string[]; streams: string[] },
): void {
  for (const reason of failureReasons) metrics.fallback.inc({ reason }, 0);
  for (const reason of unfencedReasons) metrics.unfenced.inc({ reason }, 0);
  for (const kind of ['missing', 'changed', 'order', 'alone', 'foreign', 'twice', 'outsider'])
    metrics.compareDifferences.inc({ kind }, 0);
  for (const reason of ['repeat', 'history', 'typing', 'bridge']) metrics.withheld.inc({ reason }, 0);
  for (const outcome of ['read', 'bridge', 'in_doubt']) metrics.uncertain.inc({ outcome }, 0);
  for (const event_type of known.coalescedTypes) {
    metrics.coalesced.inc({ event_type }, 0);
    metrics.coalescedLost.inc({ event_type }, 0);
  }
  for (const transport of known.transports) {
    metrics.dualWriteSuccess.inc({ transport }, 0);
    metrics.dualWriteFailure.inc({ transport }, 0);
    for (const event_type of known.eventTypes) {
      for (const status of ['success', 'duplicate', 'failure'])
        metrics.published.inc({ transport, event_type, status }, 0);
    }
  }
  for (const stream of known.streams) {
    metrics.delivered.inc({ stream }, 0);
    metrics.malformed.inc({ stream }, 0);
  }
}

/** Counts one fallback under its reason. */
export function countFallback(metrics: Metrics, reason: FailureReason | undefined): void {
  metrics.fallback.inc({ reason: reason ?? 'redis_error' });
}
