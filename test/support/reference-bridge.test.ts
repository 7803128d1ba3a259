// Where the .NET SDK is missing: the tests that need it are skipped and say so, but never in CI.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

const module = new URL('./reference-bridge.ts', import.meta.url).href;

function withoutDotnet(script: string, env: Record<string, string>): string {
  const source = `import { noDotnet, startReferenceBridge } from '${module}'; ${script}`;
  const options = { env: { PATH: '/nowhere', ...env }, encoding: 'utf8' } as const;
  return execFileSync(process.execPath, ['--input-type=module', '-e', source], options);
}

test('without the .NET SDK the tests against the reference bridge are skipped with a reason', () => {
  assert.equal(withoutDotnet('console.log(noDotnet)', {}), 'no .NET SDK (dotnet) on this machine\n');
});

test('in CI they are not skipped, and fail by what is missing', () => {
  const script = 'console.log(noDotnet); await startReferenceBridge().catch(({ message }) => console.log(message))';
  const output = withoutDotnet(script, { CI: 'true' });
  assert.equal(output, 'false\nCI insists on the .NET SDK (dotnet), which this machine lacks\n');
});
