// Every fuzzer in every world that it is for.

import { contract } from './contract.ts';
import { edge, edgeAtMoods } from './edge.ts';
import { entries, notes } from './entries.ts';
import { ingress, ingressAtMoods } from './ingress.ts';
import type { Slice } from './run.ts';

export const slices: Slice[] = [
  { name: 'ingress native', target: ingress, kind: 'native', steady: true, mayBeLarge: true },
  { name: 'ingress proxied', target: ingress, kind: 'proxied', steady: true, mayBeLarge: true },
  { name: 'ingress at moods', target: ingressAtMoods, kind: 'proxied', steady: false, mayBeLarge: true },
  { name: 'edge native', target: edge, kind: 'native', steady: true },
  { name: 'edge proxied', target: edge, kind: 'proxied', steady: true },
  { name: 'edge at moods', target: edgeAtMoods, kind: 'proxied', steady: false },
  { name: 'entries native', target: entries, kind: 'native', steady: true, mayBeLarge: true },
  { name: 'entries proxied', target: entries, kind: 'proxied', steady: true, mayBeLarge: true },
  { name: 'notes proxied', target: notes, kind: 'proxied', steady: true, mayBeLarge: true },
  { name: 'contract', target: contract, kind: undefined, steady: true },
];
