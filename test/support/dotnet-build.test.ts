// The build that test processes share, with a dotnet of our own making: what it promises when several want it at once.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { until } from './wait.ts';

/** It notes that it was called and takes its time; the output it makes is what follows `-o`. */
const fakeDotnet = `#!/bin/sh
echo built >> "$BUILD_LOG"
while [ "$1" != -o ]; do shift; done
sleep 0.3
[ -n "$BUILD_FAILS" ] && echo 'error CS1002: ; expected' && exit 1
mkdir "$2" && echo program > "$2/program.dll"
`;

test('processes that build at the same time build once, and each gets the whole program', async (t) => {
  const place = makePlace(t);
  const outputs = await Promise.all([1, 2, 3].map(() => place.build().output));
  assert.equal(new Set(outputs).size, 1);
  assert.equal(readFileSync(join(outputs[0]!, 'program.dll'), 'utf8'), 'program\n');
  assert.equal(place.countBuilds(), 1);
  assert.equal(readdirSync(place.outputs).length, 1, 'no lock and no copy stays behind');
});

test('what is built is built again only after a change of its sources', async (t) => {
  const place = makePlace(t);
  const first = await place.build().output;
  assert.equal(await place.build().output, first);
  assert.equal(place.countBuilds(), 1);
  writeFileSync(join(place.sources, 'Program.cs'), '// changed');
  assert.notEqual(await place.build().output, first);
  assert.equal(place.countBuilds(), 2);
});

test('a builder that was killed keeps nobody waiting', async (t) => {
  const place = makePlace(t);
  const killed = place.build();
  await until(() => place.countBuilds() === 1, { what: 'the first build to begin' });
  killed.child.kill('SIGKILL');
  assert.notEqual(await place.build().output, '');
  assert.equal(place.countBuilds(), 2);
});

test('a build that fails says why and leaves nothing behind', async (t) => {
  const place = makePlace(t);
  const { child, output } = place.build({ BUILD_FAILS: '1' });
  const [complaint] = await Promise.all([text(child.stderr!), output]);
  assert.match(complaint, /error CS1002/);
  assert.deepEqual(readdirSync(place.outputs), []);
});

/** A project with its fake dotnet, built by processes of their own. */
function makePlace(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'crossfade-build-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [sources, outputs, bin, log] = ['sources', 'outputs', 'bin', 'log'].map((name) => join(root, name)) as Four;
  mkdirSync(sources);
  mkdirSync(bin);
  writeFileSync(log, '');
  writeFileSync(join(sources, 'Program.cs'), '');
  writeFileSync(join(bin, 'dotnet'), fakeDotnet);
  chmodSync(join(bin, 'dotnet'), 0o755);

  const module = new URL('./dotnet-build.ts', import.meta.url).href;
  const script = `import { buildDotnet } from '${module}';
    process.stdout.write(await buildDotnet('${sources}', '${outputs}'));`;
  const build = (env = {}): { child: ChildProcess; output: Promise<string> } => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { PATH: `${bin}:${process.env.PATH}`, BUILD_LOG: log, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return { child, output: text(child.stdout!) };
  };
  return { sources, outputs, build, countBuilds: () => readFileSync(log, 'utf8').split('\n').length - 1 };
}

type Four = [string, string, string, string];
