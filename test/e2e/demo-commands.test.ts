// What the demo prints for its visitor to type is typed here.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { spawnCrossfade } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { programs } from './sidecar.ts';

for (const { name, options } of programs) {
  test(`${name} prints commands that work where it was started`, async (t) => {
    const demo = spawnCrossfade(t, ['demo', '--port', '0'], {}, options);
    const printed = await until(() => /^ +(.* cutover set 60 --admin http:\S+)$/m.exec(demo.stdout)?.[1], {
      what: () => `the commands\n${demo.stdout}${demo.stderr}`,
      timeoutMs: 20_000,
    });
    const { status, stdout, stderr } = spawnSync('sh', ['-c', `${printed} --force`], { encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, ''], printed);
    assert.match(stdout, /60% by stream/);
  });
}
