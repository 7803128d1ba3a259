// The shape of a contract file as zod sees it: in goes the parsed YAML, out comes a typed document or a list of issues.
// What refers to what (types, values, streams, hubs) is checked by load.ts.

import { z } from 'zod';

const shape = z.record(z.string(), z.string());
const argument = z.union([z.string(), z.record(z.string(), z.string())]);
const eventType = z.union([
  z.string(),
  z.strictObject({ by: z.string(), cases: z.record(z.string(), z.string()), else: z.string() }),
]);
const coalesce = z.strictObject({ user: z.string(), union: z.string().optional() });
const deliveries = z
  .array(
    z.strictObject({
      hub: z.string(),
      group: z.string(),
      method: z.string().min(1),
      unless_empty: z.string().optional(),
    }),
  )
  .min(1);

/** Of the argument, as clients see it: `message.updatedAt`; in a list, of each of its items. */
const compare = z.strictObject({
  ignore: z.array(z.string().min(1)).optional(),
  unordered: z.array(z.string().min(1)).optional(),
});

const call = z.strictObject({
  body: shape,
  event: eventType,
  stream: z.string(),
  room: z.string(),
  argument,
  deliver: deliveries,
  coalesce: coalesce.optional(),
  ends_typing_of: z.string().optional(),
  compare: compare.optional(),
});

const foreign = z.strictObject({ payload: z.union([z.literal('any'), shape]), argument, deliver: deliveries });

/** What a message to others in a group needs besides the group. */
const others = {
  method: z.string().min(1),
  argument,
  event: eventType,
  stream: z.string(),
  room: z.string(),
  coalesce: coalesce.optional(),
};

const joinEffect = z.strictObject({
  join: z.string(),
  counts_as_room: z.boolean().optional(),
  on_disconnect: z.strictObject(others).optional(),
});
const leaveEffect = z.strictObject({ leave: z.string() });
const callerEffect = z.strictObject({ caller: z.string().min(1), argument: argument.optional() });
const othersEffect = z.strictObject({ others: z.string(), ...others });
const effect = z.union([joinEffect, leaveEffect, callerEffect, othersEffect]);

const hub = z.strictObject({
  connect: z.array(z.union([joinEffect, callerEffect])),
  methods: z.record(
    z.string(),
    z.strictObject({ args: shape, ignore_empty: z.array(z.string()).optional(), effects: z.array(effect) }),
  ),
});

export const contractSchema = z.strictObject({
  contract: z.string().min(1),
  streams: z.record(z.string(), z.int().positive()),
  types: z.record(z.string(), shape).default({}),
  calls: z.record(z.string(), call),
  foreign: z.record(z.string(), foreign).default({}),
  hubs: z.record(z.string().regex(/^[^\s/]+$/, 'a hub has a name without spaces and slashes'), hub),
});

export type ContractDocument = z.infer<typeof contractSchema>;
export type CallDocument = z.infer<typeof call>;
export type ForeignDocument = z.infer<typeof foreign>;
export type HubDocument = z.infer<typeof hub>;
export type MethodDocument = HubDocument['methods'][string];
export type EffectDocument = z.infer<typeof effect>;
export type OthersDocument = Omit<z.infer<typeof othersEffect>, 'others'>;
export type EventTypeDocument = z.infer<typeof eventType>;
export type DeliveriesDocument = z.infer<typeof deliveries>;
export type CoalesceDocument = z.infer<typeof coalesce>;
