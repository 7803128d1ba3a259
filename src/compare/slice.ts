// What one replica has found in one slice of time, as it stands in the log for whoever adds the replicas up: a mark for each shadow entry
// of the slice, and the bridge's messages that no entry explains. Promise: a slice's entries are known by their places in the log alone,
// so that every replica puts the same ones into it, in the same order.

import { z } from 'zod';

/** ms of the log's time that a slice holds. */
export const sliceMs = 1_000;

/**
 * What became of one entry here, from the weakest word to the strongest: of several replicas, and of several witnesses, the strongest counts.
 * `.` nobody here is a member, `j` who is has come lately, `l` it was read late, `x` it is too large, `b` no witness could see it;
 * `=` shown as it stands, `~` but for what the contract ignores; `o` behind a later one, `c` with other arguments, `m` not at all.
 */
export const marks = '.jlxb=~ocm';
export type Mark = '.' | 'j' | 'l' | 'x' | 'b' | '=' | '~' | 'o' | 'c' | 'm';

export function stronger(a: Mark, b: Mark): Mark {
  return marks.indexOf(b) > marks.indexOf(a) ? b : a;
}

/** The slice of a time or place in the log, ms. */
export function sliceAt(ms: number): number {
  return Math.floor(ms / sliceMs);
}

const count = z.int().min(0);
const histogram = z.array(count).max(50);
const text = z.string().max(300);

export const sampleShape = z.object({
  kind: z.enum(['missing', 'changed', 'order', 'alone', 'foreign', 'twice', 'outsider']),
  /** Who has seen it. */
  replica: text,
  /** ISO 8601 */
  at: text,
  hub: text,
  method: text,
  rooms: z.array(text).max(3),
  /** Of the shadow entry; absent where there is none. */
  eventId: text.optional(),
  eventType: text.optional(),
  /** Members that differ. */
  paths: z.array(text).max(5).optional(),
  /** The arguments on both sides, cut off. */
  bridge: text.optional(),
  stream: text.optional(),
});
export type CompareSample = z.infer<typeof sampleShape>;

/** A message of the bridge that no shadow entry explains. @param key the same for the same message at every connection and replica */
const suspectShape = z.object({ key: text, sample: sampleShape });
export type Suspect = z.infer<typeof suspectShape>;

export const maxListed = 50;

export const reportShape = z.object({
  instance: z.string(),
  slice: count,
  /** Or told as it stands, soon behind its end: what is not judged by then has the weakest mark. */
  isJudged: z.boolean(),
  /** Why what no entry explains cannot be held against the bridge. */
  disturbed: z.array(text).max(20),
  /** Event type -> its entries in log order: a digest of their places, and a mark for each. */
  types: z.record(z.string(), z.object({ digest: z.string(), marks: z.string() })),
  /** Event type -> how long its events took, in buckets of `secondsBuckets` and one above. */
  latencies: z.record(z.string(), z.object({ bridge: histogram, stream: histogram })),
  /** Calls that the bridge has taken, or may have, of which there is no shadow. */
  unshadowed: count,
  samples: z.array(sampleShape).max(maxListed),
  suspects: z.array(suspectShape).max(maxListed),
  /** Messages of the bridge at the witnesses: explained by an entry; from clients to each other; of the hub itself; not to be judged. */
  messages: z.object({ explained: count, byClients: count, ofHub: count, unjudged: count }),
});
export type SliceReport = z.infer<typeof reportShape>;
