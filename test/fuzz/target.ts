// What a fuzzer is: where its inputs come from, and how one is played.

import type fc from 'fast-check';
import type { World } from './world.ts';

export interface Target {
  name: string;
  inputs: fc.Arbitrary<unknown>;
  /** Rejects only where the input itself shows a fault; what it does to a world is judged by run.ts. */
  play(input: unknown, world: World | undefined): Promise<void>;
}

/** One whose inputs are played against a running crossfade. */
export function target<Input>(
  name: string,
  inputs: fc.Arbitrary<Input>,
  play: (input: Input, world: World) => Promise<void>,
): Target {
  return { name, inputs, play: (input, world) => play(input as Input, world!) };
}

/** One whose inputs are judged by what `play` throws. */
export function targetAlone<Input>(name: string, inputs: fc.Arbitrary<Input>, play: (input: Input) => void): Target {
  return { name, inputs, play: async (input) => play(input as Input) };
}
