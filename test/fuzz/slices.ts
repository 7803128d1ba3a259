// Every fuzzer in every world that it is for.

import { ingress, ingressAtMoods } from './ingress.ts';
import type { Slice } from './run.ts';

export const slices: Slice[] = [
  { name: 'ingress native', target: ingress, kind: 'native', steady: true },
  { name: 'ingress proxied', target: ingress, kind: 'proxied', steady: true },
  { name: 'ingress at moods', target: ingressAtMoods, kind: 'proxied', steady: false },
];
