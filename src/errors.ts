// The one catalogue of what can go wrong: code -> which side and step, what it means, what the operator can do.
// The table of docs/settings.md is tested against it. HTTP statuses live in ingress/ and admin/, close messages in edge/.

export const catalogue = {
  CONFIG_INVALID: {
    meaning: 'A flag, a variable or a combination of them cannot be used.',
    remedy: 'Correct what the line names; `crossfade serve --help` lists every flag with its variable.',
  },
  CONTRACT_INVALID: {
    meaning: 'The contract file does not fit its schema.',
    remedy: 'Run `crossfade contract check <file>`: it lists every fault with its line.',
  },
  INGRESS_BODY_INVALID: {
    meaning: 'The backend sent a call whose body the contract refuses; it got a 400 that names the field.',
    remedy: 'Compare the call with the contract; nothing was delivered.',
  },
  INGRESS_OVERLOADED: {
    meaning: 'More calls or bytes are in flight than crossfade holds; the backend got 503 with Retry-After.',
    remedy: 'Look at the lane that is slow (bridge or log), or add a replica.',
  },
  INGRESS_UNDECIDED: {
    meaning: 'A repeat waited for the first call of its event_id, which was not decided in time; it got a 503.',
    remedy: 'The first call is stuck at the bridge or its replica died; a later repeat is decided.',
  },
  BRIDGE_UNREACHABLE: {
    meaning: 'The bridge refused or broke the connection before it answered; the backend got a 502.',
    remedy: 'Check that the bridge runs at the address of --bridge.',
  },
  BRIDGE_TIMEOUT: {
    meaning: 'The bridge did not answer in time; the backend got a 504. The call may have been delivered.',
    remedy: 'Check the load of the bridge.',
  },
  BRIDGE_OVERLOADED: {
    meaning: 'The queue in front of the bridge is full; the backend got a 503 with Retry-After.',
    remedy: 'The bridge is slower than its calls; move rooms to the stream lane.',
  },
  BRIDGE_LOOP: {
    meaning: 'A request that this process had sent to the bridge came back to it; it got a 508.',
    remedy: 'Behind --bridge stands crossfade itself, perhaps through a load balancer: name the bridge there.',
  },
  LOG_UNAVAILABLE: {
    meaning: 'The log cannot be reached or does not answer.',
    remedy: 'Check that Redis runs at the address of --redis and that its password is right.',
  },
  LOG_APPEND_REFUSED: {
    meaning: 'The log certainly did not keep an event; the call fell back to the bridge, or got a 503 without one.',
    remedy: 'See `reason`: redis_error (read-only, out of memory, misconfigured), timeout or connection_lost.',
  },
  LOG_APPEND_UNKNOWN: {
    meaning: 'An event was sent to the log, no answer came, and it could not be looked up: it may have been kept.',
    remedy:
      'The call fell back to the bridge, unless a replica had read its event, or got a 503 without one; a repeat with the same event_id is safe.',
  },
  LOG_INSTANCE_TAKEN: {
    meaning: 'Another live process holds this instance name (or this data directory), so this one does not start.',
    remedy: 'Give each replica its own --instance, or its own --data-dir.',
  },
  CUTOVER_GUARD: {
    meaning: 'Rooms were not moved to the stream lane, because a client would miss their events or see them twice.',
    remedy: 'Remove what the reasons name; where it is known to be harmless, `--force` goes on.',
  },
  CUTOVER_HELD: {
    meaning: 'Somebody holds the cutover as it stands; nothing was changed. A rollback and the kill switch still act.',
    remedy: 'Ask whoever the message names, or say `crossfade cutover release`.',
  },
  CUTOVER_COMPLETE: {
    meaning: 'The cutover is complete: no room, no client and no command goes back to the bridge.',
    remedy: 'None is needed; docs/migration.md says what the day after looks like.',
  },
  CUTOVER_CONFLICT: {
    meaning: 'The cutover is not any more what `--if-epoch` names, or others were faster; nothing was changed.',
    remedy: 'Look at `crossfade cutover show`, who else operates it, and repeat the command.',
  },
  CUTOVER_INVALID: {
    meaning: 'A command to the cutover cannot be used: its body is wrong, or there is no bridge to move rooms from.',
    remedy: 'Correct what the message names.',
  },
  ADMIN_UNREACHABLE: {
    meaning: 'A command found no crossfade at the admin address, or none that lets it in.',
    remedy: 'Give `--admin` the address that `serve` logs, and CROSSFADE_ADMIN_TOKEN where it has one.',
  },
  BENCH_TARGET: {
    meaning:
      'The load generator (`crossfade bench`, `crossfade verify`) cannot get a message through: a client or a call is refused.',
    remedy: 'Check both addresses, and that JWT_SECRET_KEY and INTERNAL_API_KEY are those of the system under load.',
  },
  PEER_UNSIGNED: {
    meaning: 'Something said to this replica what only another replica may, without a valid signature; it got a 401.',
    remedy: 'Give all replicas the same CROSSFADE_ADMIN_TOKEN and INTERNAL_API_KEY, and clocks less than 30 s apart.',
  },
  EDGE_TOKEN_INVALID: {
    meaning: 'A client came with no token, or one that is not valid; it got a 401 that says why.',
    remedy: 'Check JWT_SECRET_KEY or CROSSFADE_JWKS_URL against what the backend signs with.',
  },
  EDGE_SLOW_CLIENT: {
    meaning: 'A client read slower than its messages came; its connection was cut so that it reconnects.',
    remedy: 'None for single clients; many at once point to the network in front of the edge.',
  },
  EDGE_HOLDER_UNREACHABLE: {
    meaning:
      "A client's request could not be relayed to the replica that holds its connection; it got a 404 (or a 502), and connects again.",
    remedy:
      'Let the replicas reach each other’s admin ports (CROSSFADE_ADMIN beyond loopback, network policies), with the same CROSSFADE_ADMIN_TOKEN and INTERNAL_API_KEY.',
  },
  EDGE_OVER_BUDGET: {
    meaning:
      'A client did more than a connection may (bytes, records, messages to others, rooms, a long name); its invocation failed, or its connection was closed.',
    remedy: 'No client of these hubs gets there: see `crossfade_budget_exceeded_total{budget}`, and whose token it is.',
  },
  EDGE_DRAINING: {
    meaning:
      'Clients were left when the time of `crossfade drain` was over; they go on leaving, and new ones get a 503 with Retry-After.',
    remedy: 'Give it as long as `--drain-rate` takes for all of them, and the pod a grace period that is longer.',
  },
  EDGE_GAP: {
    meaning:
      'Entries were trimmed before this replica had read them; its clients were closed so that they fetch history.',
    remedy: 'The replica was stopped or starved; raise the stream lengths in the contract if it repeats.',
  },
} as const satisfies Record<string, { meaning: string; remedy: string }>;

export type ErrorCode = keyof typeof catalogue;

export function isCode(text: string): text is ErrorCode {
  return Object.hasOwn(catalogue, text);
}

/** Why the log failed, in the words of the metric `event_transport_fallback_total{reason}`. */
export const failureReasons = ['redis_error', 'timeout', 'connection_lost'] as const;
export type FailureReason = (typeof failureReasons)[number];

/** An error of the catalogue. `message` says what happened in this case; `cause` keeps the error below it. */
export class CrossfadeError extends Error {
  readonly code: ErrorCode;
  readonly reason: FailureReason | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; reason?: FailureReason } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CrossfadeError';
    this.code = code;
    this.reason = options.reason;
  }
}

/** Whether `error` is a CrossfadeError with one of these codes. */
export function hasCode(error: unknown, ...codes: ErrorCode[]): error is CrossfadeError {
  return error instanceof CrossfadeError && codes.includes(error.code);
}
