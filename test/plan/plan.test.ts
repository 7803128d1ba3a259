// What a person writes: a plan is read with its units and defaults, or refused with each line that is wrong and what to do.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readPlan } from '../../src/plan/plan.ts';

test('a plan of a name and steps is enough; times are read with their units', () => {
  assert.deepEqual(readPlan('name: n\nsteps: [{ percent: 1, hold: 90s }, { percent: 100, hold: 2h }]', 'p.yaml'), {
    name: 'n',
    steps: [
      { percent: 1, hold: 90_000 },
      { percent: 100, hold: 7_200_000 },
    ],
    guards: { delivered_ratio: 0.99, p95_ratio: 1.5, fallback_rate: 0.01, probe_age: 5_000, lag: 1_000, unfenced: 0 },
    samples: { every: 5_000, count: 3, events: 100 },
  });
});

test('the example is a plan, and its guards and samples are the defaults, as it says', () => {
  const example = readPlan(
    readFileSync(new URL('../../deploy/plan.yaml', import.meta.url), 'utf8'),
    'deploy/plan.yaml',
  );
  const { guards, samples } = readPlan('name: n\nsteps: [{ percent: 1, hold: 1s }]', 'p.yaml');
  assert.deepEqual([example.guards, example.samples], [guards, samples]);
});

const faults: [text: string, said: string[]][] = [
  ['', ['p.yaml:1: p.yaml: a plan has `name` and `steps`; see docs/operating.md']],
  [
    'name: n\nsteps: [',
    [
      'p.yaml:2: p.yaml: Flow sequence in block collection must be sufficiently indented and end with a ] at line 2, column 9:',
    ],
  ],
  [
    'name: n\nsteps:\n  - percent: 150\n    hold: 10\n  - percent: 20\n',
    [
      'p.yaml:3: steps.0.percent: from 1 to 100',
      'p.yaml:4: steps.0.hold: a time is a number with its unit, such as 90s, 30m or 2h',
      'p.yaml:5: steps.1.hold: a time is a number with its unit, such as 90s, 30m or 2h',
    ],
  ],
  [
    'name: n\nsteps:\n  - { percent: 20, hold: 1m }\n  - { percent: 5, hold: 1m }\n',
    ['p.yaml:4: steps.1.percent: each step raises the percent: 5 does not stand above 20'],
  ],
  [
    'name: n\nsteps: [{ percent: 5, hold: 1m }]\nguards:\n  latency: 5\nsamples:\n  every: 100h\n',
    [
      'p.yaml:4: guards: not known: latency; what may stand here: delivered_ratio, p95_ratio, fallback_rate, probe_age, lag, unfenced',
      'p.yaml:6: samples.every: from 1s to 10m',
    ],
  ],
];

for (const [text, said] of faults) {
  test(`refused: ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => readPlan(text, 'p.yaml'),
      ({ code, message }: Error & { code: string }) => {
        assert.equal(code, 'CUTOVER_INVALID');
        assert.deepEqual(message.split('\n'), said);
        return true;
      },
    );
  });
}
