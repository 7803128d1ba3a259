// The judge against faults made by hand, and against an oracle that tries every reading of what is not owed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeFaults, type Rules, standardRules } from './fault.ts';
import { judge } from './judge.ts';
import type { MadeCall, Stay } from './owed.ts';
import type { PlannedCall } from './plan.ts';
import { compareSequence, type Expected } from './sequence.ts';

/** The i-th call runs from 10·i to 10·i + 5. */
function made(labels: string[], more: (i: number) => Partial<PlannedCall> = () => ({})): MadeCall[] {
  return labels.map((label, i) => ({
    call: { eventId: `r-${i}`, room: 'r', path: '', body: {}, shows: [{ hub: 'chat', label }], ...more(i) },
    address: '',
    startedAt: 10 * i,
    answeredAt: 10 * i + 5,
    accepted: true,
  }));
}

function stay(labels: string[], times: Partial<Stay> = {}): Stay {
  const seen = labels.map((label) => ({ label, at: 0 }));
  return { client: 'c', hub: 'chat', room: 'r', askedAt: -2, confirmedAt: -1, endedAt: Infinity, seen, ...times };
}

function find(calls: MadeCall[], member: Stay, rules: Partial<Rules> = {}) {
  return judge(new Map([['r', calls]]), [member], { ...standardRules, endMarginMs: 0, replayMs: 0, ...rules });
}

const kindsOf = (faults: { kind: string }[]) => faults.map(({ kind }) => kind);
const called = ['n0', 'same', 'same', 'n3', 'same', 'n5'];

test('what is seen as it was called is no fault', () => {
  assert.deepEqual(find(made(called), stay(called)), []);
});

const wrong: [what: string, seen: string[], kind: string][] = [
  ['a number is missing', ['n0', 'same', 'same', 'same', 'n5'], 'lost'],
  ['one of several identical ones is missing', ['n0', 'same', 'n3', 'same', 'n5'], 'lost'],
  ['the last one is missing', ['n0', 'same', 'same', 'n3', 'same'], 'lost'],
  ['all are missing', [], 'lost'],
  ['a number comes twice', ['n0', 'same', 'same', 'n3', 'n3', 'same', 'n5'], 'double'],
  ['one of several identical ones comes twice', ['n0', 'same', 'same', 'same', 'n3', 'same', 'n5'], 'double'],
  ['the last one comes twice', [...called, 'n5'], 'double'],
  ['two have changed places', ['n0', 'same', 'n3', 'same', 'same', 'n5'], 'order'],
  ['the last has overtaken all', ['n5', 'n0', 'same', 'same', 'n3', 'same'], 'order'],
  ['something that nobody called is there', ['n0', 'n77', 'same', 'same', 'n3', 'same', 'n5'], 'foreign'],
];

for (const [what, seen, kind] of wrong) {
  test(`the judge says ${kind} where ${what}`, () => {
    assert.deepEqual(kindsOf(find(made(called), stay(seen))), [kind]);
  });
}

test('a fault is told with what was expected and seen around it', () => {
  const faults = find(made(called), stay(['n0', 'same', 'same', 'same', 'n5']));
  assert.equal(
    describeFaults(faults),
    '1 faults at 1 clients (1 lost)\n' +
      'lost: c (chat) in r: n3; the 4th of 5 seen\n' +
      '  expected n0, same, same, [n3], same, n5\n' +
      '  seen     n0, same, same, [same], n5\n' +
      '  called   #0 0.000-0.005, #1 0.010-0.015, #2 0.020-0.025, [#3 0.030-0.035], #4 0.040-0.045, #5 0.050-0.055\n' +
      '  stayed   -0.001-Infinity',
  );
});

test('what was called while the join or the end was under way may be shown or not', () => {
  const member = { askedAt: 2, confirmedAt: 12, endedAt: 42 };
  for (const first of [[], ['n0'], ['same'], ['n0', 'same']]) {
    for (const last of [[], ['same']]) {
      assert.deepEqual(find(made(called), stay([...first, 'same', 'n3', ...last], member)), [], `${first} ${last}`);
    }
  }
  assert.deepEqual(kindsOf(find(made(called), stay(['same', 'n0', 'same', 'n3'], member))), ['order']);
  assert.deepEqual(kindsOf(find(made(called), stay(['same'], member))), ['lost']);
});

test('what was answered long before the join was asked for, or called after the end, must not be shown', () => {
  const late = { askedAt: 16, confirmedAt: 17 };
  assert.deepEqual(find(made(['n0', 'n1', 'n2']), stay(['n1', 'n2'], late), { replayMs: 5 }), []);
  assert.deepEqual(kindsOf(find(made(['n0', 'n1', 'n2']), stay(['n0', 'n1', 'n2'], late), { replayMs: 5 })), [
    'foreign',
  ]);
  assert.deepEqual(kindsOf(find(made(['n0', 'n1']), stay(['n0', 'n1'], { endedAt: 8 }))), ['foreign']);
});

test('what was not accepted may be shown, at its place and once', () => {
  const calls = made(['n0', 'n1', 'n2']);
  calls[1]!.accepted = false;
  assert.deepEqual(find(calls, stay(['n0', 'n2'])), []);
  assert.deepEqual(find(calls, stay(['n0', 'n1', 'n2'])), []);
  assert.deepEqual(kindsOf(find(calls, stay(['n1', 'n0', 'n2']))), ['order']);
  assert.deepEqual(kindsOf(find(calls, stay(['n0', 'n1', 'n1', 'n2']))), ['double']);
});

test('what is counted as unfenced may be at any place, but has to be there, once', () => {
  const rules = { unfenced: new Set(['r-1', 'r-3']) };
  const fine = [['n3', 'n0', 'same', 'same', 'same', 'n5'], ['same', 'n0', 'same', 'same', 'n5', 'n3'], called];
  for (const seen of fine) assert.deepEqual(find(made(called), stay(seen), rules), [], `${seen}`);
  assert.deepEqual(kindsOf(find(made(called), stay(['n0', 'same', 'same', 'same', 'n5']), rules)), ['lost']);
  assert.deepEqual(kindsOf(find(made(called), stay(['n3', ...called]), rules)), ['double']);
  assert.deepEqual(kindsOf(find(made(called), stay(['n5', 'n0', 'same', 'same', 'n3', 'same']), rules)), ['order']);
});

test('what may be on both lanes may be shown twice, and has to be shown once', () => {
  const rules = { unfenced: new Set(['r-1']), inDoubt: new Set(['r-1']) };
  assert.equal(called[1], 'same');
  for (const seen of [called, ['same', ...called]])
    assert.deepEqual(find(made(called), stay(seen), rules), [], `${seen}`);
  assert.deepEqual(kindsOf(find(made(called), stay(['same', 'same', ...called]), rules)), ['double']);
  assert.deepEqual(kindsOf(find(made(called), stay(['n0', 'same', 'same', 'n3', 'n5']), rules)), ['lost']);
});

test('messages of another hub are not expected', () => {
  const calls = made(['n0', 'n1'], (i) => ({ shows: [{ hub: i === 0 ? 'ticket' : 'chat', label: `n${i}` }] }));
  assert.deepEqual(find(calls, stay(['n1'])), []);
  assert.deepEqual(kindsOf(find(calls, stay(['n0', 'n1']))), ['foreign']);
});

const types = (user: string, isTyping: boolean) => ({
  label: `typing ${user} ${isTyping}`,
  at: 0,
  typing: { user, isTyping },
});
const silent = { shows: [] };

test('typing is never shown after its sender’s message, and ends as it was called last', () => {
  const calls = [
    ...made(
      ['', '', ''],
      (i) =>
        [
          { ...silent, eventId: 't0', typing: { user: 'u', isTyping: true } },
          { ...silent, typing: { user: 'v', isTyping: true } },
          { ...silent, typing: { user: 'v', isTyping: false } },
        ][i]!,
    ),
    ...made(['n3'], () => ({ eventId: 'm0', endsTypingOf: 'u' })),
  ];
  const message = { label: 'n3', at: 0 };
  const fine = [
    [types('u', true), types('v', false), message],
    [types('v', true), message, types('v', false)],
  ];
  for (const seen of fine) assert.deepEqual(find(calls, stay([], { seen })), []);
  const late = [types('v', false), message, types('u', true)];
  assert.match(find(calls, stay([], { seen: late }))[0]!.text, /after the message of u/);
  for (const eventId of ['t0', 'm0']) {
    assert.deepEqual(find(calls, stay([], { seen: late }), { unfenced: new Set([eventId]) }), [], eventId);
  }
  const stuck = [types('v', true), message];
  assert.match(find(calls, stay([], { seen: stuck }))[0]!.text, /v was last shown typing: true/);
  const never = [message];
  assert.match(find(calls, stay([], { seen: never }))[0]!.text, /v was last shown typing: undefined/);
  assert.deepEqual(find(calls, stay([], { seen: never }), { mayLose: () => true }), []);
  assert.deepEqual(kindsOf(find(calls, stay([], { seen: [...fine[0]!, types('w', true)] }))), ['foreign']);
});

test('every id that was read is shown, in whatever pieces, and none that was not', () => {
  const calls = made(['', ''], (i) => ({ ...silent, receipt: { user: 'u', ids: [`a${i}`, `b${i}`] } }));
  const reads = (...ids: string[]) => ({ label: 'read', at: 0, receipt: { user: 'u', ids } });
  assert.deepEqual(find(calls, stay([], { seen: [reads('a0', 'b0', 'a1', 'b1')] })), []);
  assert.deepEqual(find(calls, stay([], { seen: [reads('a1', 'b1'), reads('a0', 'b0')] })), []);
  assert.match(find(calls, stay([], { seen: [reads('a0', 'b0', 'a1')] }))[0]!.text, /1 read ids .* u b1/);
  assert.deepEqual(kindsOf(find(calls, stay([], { seen: [reads('a0', 'b0', 'a1', 'b1', 'c')] }))), ['foreign']);
});

const anyLabel = fc.constantFrom('same', 'a', 'b');
const anyExpected = fc.array(
  fc.record({ label: anyLabel, isOwed: fc.boolean(), isLoose: fc.integer({ min: 0, max: 4 }).map((n) => n === 0) }),
  { maxLength: 7 },
);

test('the judge says what an oracle says that tries every choice and every place', () => {
  fc.assert(
    fc.property(anyExpected, fc.array(anyLabel, { maxLength: 7 }), (expected, seen) => {
      assert.equal(compareSequence(expected, seen) === undefined, oracleAccepts(expected, seen));
    }),
    { numRuns: 2_000 },
  );
});

test('the judge takes any reading of what is right, and nothing that has a message too few or too many', () => {
  const world = fc.record({ expected: anyExpected, choice: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }) });
  fc.assert(
    fc.property(world, fc.nat(), ({ expected, choice }, place) => {
      const shown = expected.filter(({ isOwed }, i) => isOwed || choice[i]);
      const seen = shown.map(({ label }) => label);
      assert.equal(compareSequence(expected, seen), undefined);
      const owed = expected.filter(({ isOwed }) => isOwed).map(({ label }) => label);
      assert.equal(compareSequence(expected, owed), undefined);
      if (owed.length === 0) return;
      assert.notEqual(compareSequence(onlyOwed(expected), owed.toSpliced(place % owed.length, 1)), undefined);
      assert.notEqual(compareSequence(onlyOwed(expected), [...owed, owed[place % owed.length]!]), undefined);
    }),
  );
});

function onlyOwed(expected: Expected[]): Expected[] {
  return expected.filter(({ isOwed }) => isOwed);
}

/** Every subset of what is not owed, every place for what is loose. */
function oracleAccepts([first, ...rest]: Expected[], seen: string[]): boolean {
  if (first === undefined) return seen.length === 0;
  if (!first.isOwed && oracleAccepts(rest, seen)) return true;
  if (first.isLoose) {
    return seen.some((label, i) => label === first.label && oracleAccepts(rest, seen.toSpliced(i, 1)));
  }
  // Loose messages behind it may be before it in what was seen: they are taken out first.
  const loose = rest.findIndex(({ isLoose }) => isLoose);
  if (loose >= 0) return oracleAccepts([rest[loose]!, first, ...rest.toSpliced(loose, 1)], seen);
  return seen[0] === first.label && oracleAccepts(rest, seen.slice(1));
}
