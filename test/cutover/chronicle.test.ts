// Each change of the cutover is a line in the log: from, to, who, what.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tellChanges } from '../../src/cutover/chronicle.ts';
import { type CutoverState, initialState, nextState } from '../../src/rooms/state.ts';
import { logLines } from '../support/log-lines.ts';

function setUp() {
  const { logger, lines } = logLines();
  let state = initialState;
  let onAdopted = (_state: CutoverState, _before: CutoverState) => {};
  const roomLanes = {
    onAdopted(run: typeof onAdopted) {
      onAdopted = run;
    },
  };
  tellChanges(roomLanes, logger);
  const adopt = (next: CutoverState) => {
    const before = state;
    state = next;
    onAdopted(next, before);
  };
  return { adopt, lines };
}

const at = (what: string, why?: string) => ({ who: 'ops', what, why, nowMs: 0 });

test('each change that is adopted is told, with who made it', () => {
  const { adopt, lines } = setUp();
  const first = nextState(initialState, { percent: 25 }, at('set 25'));
  adopt(first);
  adopt(nextState(first, { pins: { r: 'bridge' } }, at('pin r bridge', 'it is the loudest')));
  const told = { level: 'info', by: 'ops', when: '1970-01-01T00:00:00.000Z', steps: 1, msg: 'the cutover has changed' };
  assert.deepEqual(lines, [
    { ...told, epoch: 1, from: 0, to: 25, what: 'set 25' },
    { ...told, epoch: 2, from: 25, to: 25, what: 'pin r bridge', why: 'it is the loudest' },
  ]);
});

test('a replica that takes over a long history tells the latest of it, and how long it is', () => {
  const { adopt, lines } = setUp();
  let state = initialState;
  for (let percent = 1; percent <= 20; percent++) state = nextState(state, { percent }, at(`set ${percent}`));
  adopt(state);
  assert.equal(lines.length, 1);
  assert.deepEqual([lines[0]!.what, lines[0]!.steps, lines[0]!.epoch], ['set 20', 20, 20]);
});

test('that event ids begin to be remembered is nobody’s change', () => {
  const { adopt, lines } = setUp();
  adopt(nextState(initialState, { remembers: true }, { who: '', what: '', nowMs: 0 }));
  assert.deepEqual(lines, []);
});
