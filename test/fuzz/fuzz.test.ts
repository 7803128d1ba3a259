// A minute of all fuzzers, and that they can fail. `npm run fuzz -- --minutes 60` is the same for longer, with other seeds.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { loadContract } from '../../src/contract/load.ts';
import { smallContract } from './contract.ts';
import { createRunner } from './run.ts';
import { slices } from './slices.ts';
import { target, targetAlone } from './target.ts';

const seconds = 4;
const seed = 20_260_116;
/** Of a machine that is busy with other tests; what crossfade is held to is what main.ts says. */
const maxStallMs = 500;

describe('the fuzzers', () => {
  const runner = createRunner({ maxStallMs });
  after(() => runner.close());

  for (const slice of slices) {
    test(`${slice.name}: nothing from outside ends, stalls or fills crossfade, or costs a bystander its messages`, async (t) => {
      const { find, ...report } = await runner.run(slice, seconds, seed);
      t.diagnostic(JSON.stringify(report));
      if (find !== undefined) assert.fail(`${find.what}\nseed ${find.seed}, path ${find.path}\n${find.input}`);
      assert.ok(report.inputs > 0);
    });
  }

  test('an input that ends crossfade is found, and made as small as it can be', async () => {
    const kill = target('kill', fc.nat(7), async (number, world) => {
      if (number > 3) process.kill(world.pid, 'SIGKILL');
    });
    const slice = { name: 'kill', target: kill, kind: 'native' as const, steady: true };
    const { find } = await runner.run(slice, 10, 1);
    assert.match(find!.what, /crossfade has ended: .*SIGKILL/);
    assert.equal(find!.input, '4');
  });
});

test('what one seed and path have found they find again', async () => {
  const odd = targetAlone('odd', fc.string(), (text) => {
    if (text.includes('x')) throw new Error('there is an x');
  });
  const runner = createRunner({ maxStallMs });
  const slice = { name: 'odd', target: odd, kind: undefined, steady: true };
  const { find } = await runner.run(slice, 10, 1);
  assert.equal(find!.input, '"x"');
  const again = await runner.replay(slice, find!.seed!, find!.path!);
  assert.deepEqual([again.inputs, again.find?.input], [1, '"x"']);
});

test('the contract that the loader’s fuzzer changes is a good one as it stands', () => {
  assert.equal(loadContract(smallContract, 'small').name, 'small');
});
