// Builds a .NET project of the tests, once per change of its sources: a directory of sources comes in, the directory of the
// built program goes out. Promises that no test process ever sees half a program, however many build at the same time:
// each builds a copy of its own, and what it built gets its name in one step. The lock only spares the second build.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { until } from './wait.ts';

/** With the packages still to be fetched; the tests' own time limit is not much longer. */
const buildTimeoutMs = 150_000;

/**
 * @param sources where the project's .cs and .csproj files are, without folders
 * @param outputs where one directory per state of the sources is kept
 */
export async function buildDotnet(sources: string, outputs: string): Promise<string> {
  const files = readdirSync(sources)
    .filter((name) => /\.cs(proj)?$/.test(name))
    .sort();
  const output = join(outputs, hashOf(sources, files));
  if (existsSync(output)) return output;
  mkdirSync(outputs, { recursive: true });
  const lock = `${output}.lock`;
  await until(() => existsSync(output) || take(lock), { timeoutMs: buildTimeoutMs, what: `the build of ${output}` });
  try {
    if (!existsSync(output)) await buildCopy(sources, files, output);
  } finally {
    release(lock);
  }
  return output;
}

function hashOf(sources: string, files: string[]): string {
  const hash = createHash('sha256');
  for (const name of files) hash.update(name).update(readFileSync(join(sources, name)));
  return hash.digest('hex').slice(0, 16);
}

async function buildCopy(sources: string, files: string[], output: string): Promise<void> {
  const copy = `${output}.${process.pid}`;
  try {
    mkdirSync(copy);
    for (const name of files) copyFileSync(join(sources, name), join(copy, name));
    await run('dotnet', ['build', copy, '-c', 'Release', '-o', join(copy, 'bin'), ...quietly]);
    renameSync(join(copy, 'bin'), output);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** No build servers stay behind that would outlive the tests. */
const quietly = ['--nologo', '-v', 'quiet', '-nodeReuse:false', '-p:UseSharedCompilation=false'];

function run(command: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout: buildTimeoutMs }, (error, stdout) => {
      if (error) reject(new Error(`${error.message}\n${stdout}`));
      else resolve();
    });
  });
}

/** A lock is a link that points to its holder's pid: made with its content in one step. One whose holder died is freed. */
function take(lock: string): boolean {
  try {
    symlinkSync(String(process.pid), lock);
    return true;
  } catch {
    if (!isAlive(holderOf(lock))) rmSync(lock, { force: true });
    return false;
  }
}

function release(lock: string): void {
  if (holderOf(lock) === process.pid) rmSync(lock, { force: true });
}

function holderOf(lock: string): number | undefined {
  try {
    return Number(readlinkSync(lock));
  } catch {
    return undefined;
  }
}

function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return true;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
