// How this program can be called again, as a reader of its output types it: in comes where it stands, out goes a word that works.

import { realpathSync } from 'node:fs';
import { basename, delimiter, dirname, relative } from 'node:path';
import { isSea } from 'node:sea';

/**
 * @param program the file that was started
 * @param from where it is typed
 * @param path the directories in which a shell looks for programs
 */
export function callOf(program: string, from: string, path: string[]): string {
  if (path.includes(dirname(program))) return basename(program);
  const way = relative(from, program);
  const word = way.startsWith('..') ? program : `./${way}`;
  return /^[\w./@:+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export function ownCommand(): string {
  // npm runs its scripts where package.json is, and puts its own directories in PATH; what is typed, is typed elsewhere.
  const { INIT_CWD = process.cwd(), PATH = '' } = process.env;
  if (isSea()) return callOf(process.execPath, INIT_CWD, PATH.split(delimiter));
  return callOf(realpathSync(process.argv[1]!), INIT_CWD, []);
}
