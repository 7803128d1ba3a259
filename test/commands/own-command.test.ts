// The command that the demo prints is one that works where it is typed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callOf } from '../../src/commands/own-command.ts';

test('a program is called by the shortest word that finds it', () => {
  const cases: [program: string, from: string, path: string[], word: string][] = [
    ['/home/ada/crossfade/bin/crossfade.mjs', '/home/ada/crossfade', ['/usr/bin'], './bin/crossfade.mjs'],
    ['/home/ada/crossfade/dist/crossfade', '/home/ada/crossfade/dist', ['/usr/bin'], './crossfade'],
    ['/usr/local/bin/crossfade', '/home/ada', ['/usr/bin', '/usr/local/bin'], 'crossfade'],
    ['/opt/crossfade', '/home/ada', ['/usr/bin'], '/opt/crossfade'],
    ['/home/ada/my tools/crossfade', '/home/ada', [], "'./my tools/crossfade'"],
  ];
  for (const [program, from, path, word] of cases) assert.equal(callOf(program, from, path), word);
});
