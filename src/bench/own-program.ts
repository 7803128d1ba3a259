// How this very program is called once more, for its other processes: out go program and arguments, to which a command is added.

import { isSea } from 'node:sea';

export function ownProgram(): string[] {
  return isSea() ? [process.execPath] : [process.execPath, ...process.execArgv, process.argv[1]!];
}
