// A real ASP.NET Core SignalR bridge (test/reference-bridge/) for machines with the .NET SDK: built once per change into
// a directory of its own, started on a free port, ended by its pid with the test.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allowedOrigin, apiKey, jwtSecret } from './bridge.ts';
import { until } from './wait.ts';

const sources = fileURLToPath(new URL('../reference-bridge/', import.meta.url));
const outputs = fileURLToPath(new URL('../../dist/reference-bridge/', import.meta.url));

/** Why the tests against the reference bridge cannot run here; false where they can. Pass it as a test's `skip`. */
export const noDotnet: string | false = hasDotnet() ? false : 'no .NET SDK (dotnet) on this machine';

/** @returns the bridge's URL; it has the tests' key, secret and origin */
export async function startReferenceBridge(t: TestContext): Promise<string> {
  const program = join(build(), 'ReferenceBridge.dll');
  const child = spawn('dotnet', [program], {
    env: {
      ...process.env,
      ASPNETCORE_URLS: 'http://127.0.0.1:0',
      BRIDGE_API_KEY: apiKey,
      BRIDGE_JWT_SECRET: jwtSecret,
      // Of several: only then does ASP.NET say `Vary: Origin`, as the recorded bridge does.
      BRIDGE_ORIGINS: `${allowedOrigin},http://localhost:3000`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return await listening(child);
}

async function listening(child: ChildProcess): Promise<string> {
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return until(() => /^listening (\S+)$/m.exec(output)?.[1], {
    timeoutMs: 30_000,
    what: () => `the reference bridge to listen\n${output}`,
  });
}

/** The output's name is a hash of the sources, so that a change is built and nothing else is. */
function build(): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(sources).sort()) {
    if (/\.cs(proj)?$/.test(name)) hash.update(name).update(readFileSync(join(sources, name)));
  }
  const output = join(outputs, hash.digest('hex').slice(0, 16));
  if (existsSync(join(output, 'ReferenceBridge.dll'))) return output;
  mkdirSync(output, { recursive: true });
  execFileSync('dotnet', ['build', sources, '-c', 'Release', '-o', output, '--nologo', '-v', 'quiet'], {
    stdio: 'pipe',
  });
  return output;
}

function hasDotnet(): boolean {
  try {
    execFileSync('dotnet', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
