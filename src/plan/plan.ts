// A plan: the percent raised in steps, each held for a while under guards. In comes the YAML of a person, out goes the plan, or every
// fault with its line and what to do.

import { z } from 'zod';
import { checkYaml } from '../checked-yaml.ts';
import { CrossfadeError } from '../errors.ts';

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000 };

/** `90s`, `30m` or `2h`, out as ms. */
const duration = z
  .string({ error: 'a time is a number with its unit, such as 90s, 30m or 2h' })
  .regex(/^\d{1,6}[smh]$/, 'a time is a number with its unit, such as 90s, 30m or 2h')
  .transform((text) => Number(text.slice(0, -1)) * unitMs[text.at(-1) as keyof typeof unitMs]);
const share = z.number('a share is a number from 0 to 1').min(0, 'from 0 to 1').max(1, 'from 0 to 1');
const count = z.int('a whole number').min(0, 'not below 0').max(1_000_000_000, 'too large');

/** An object of these keys alone. @param words what it is, where it is none */
function exactly<Shape extends z.ZodRawShape>(shape: Shape, words: string) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? `not known: ${issue.keys.join(', ')}; what may stand here: ${known}` : words,
  });
}

const step = exactly(
  {
    percent: z.int('a whole number from 1 to 100').min(1, 'from 1 to 100').max(100, 'from 1 to 100'),
    /** ms */
    hold: duration,
  },
  'a step has `percent` and `hold`',
);

const steps = z
  .array(step, 'a list of steps, each with `percent` and `hold`')
  .min(1, 'at least one step')
  .max(50, 'at most 50 steps')
  .superRefine((all, context) => {
    for (const [at, { percent }] of all.entries()) {
      if (at === 0 || percent > all[at - 1]!.percent) continue;
      const message = `each step raises the percent: ${percent} does not stand above ${all[at - 1]!.percent}`;
      context.addIssue({ code: 'custom', path: [at, 'percent'], message });
    }
  });

/** At least this, for `delivered_ratio`; at most this, for the others. */
const guards = exactly(
  {
    delivered_ratio: share.default(0.99),
    p95_ratio: z.number('a number such as 1.5').positive('above 0').max(1_000, 'too large').default(1.5),
    fallback_rate: share.default(0.01),
    /** ms */
    probe_age: duration.default(5_000),
    lag: count.default(1_000),
    unfenced: count.default(0),
  },
  'guards are names with their limits',
);

const samples = exactly(
  {
    /** ms */
    every: duration.refine((ms) => ms >= 1_000 && ms <= 600_000, 'from 1s to 10m').default(5_000),
    /** How many of one kind, one after the other, are a verdict. */
    count: z.int('a whole number').min(1, 'at least 1').max(100, 'at most 100').default(3),
    /** A sample of fewer cannot be judged. */
    events: z.int('a whole number').min(1, 'at least 1').max(1_000_000_000, 'too large').default(100),
  },
  'samples have `every`, `count` and `events`',
);

const planShape = exactly(
  {
    name: z.string('a name, for the history').min(1, 'a name, for the history').max(60, 'at most 60 characters'),
    steps,
    guards: guards.prefault({}),
    samples: samples.prefault({}),
  },
  'a plan has `name` and `steps`; see docs/operating.md',
);

export type Plan = z.infer<typeof planShape>;
export type GuardName = keyof Plan['guards'];

/** @param source the file's name, for the faults. Error: CUTOVER_INVALID, a line a fault */
export function readPlan(text: string, source: string): Plan {
  const { value } = checkYaml(text, source, planShape, (faults) => {
    const lines = faults.map(({ line, place, message }) => `${source}:${line}: ${place}: ${message}`);
    throw new CrossfadeError('CUTOVER_INVALID', lines.join('\n'));
  });
  return value;
}
