// Whether all replicas run the same: in come what they say of themselves, out goes in which they differ. While they do, no room comes to
// the stream lane, as one release might read otherwise what another one has decided.

import type { LiveReplica } from '../log/log.ts';

/** The facts of the roster that must be the same everywhere; the buckets of the rooms belong to the release. */
export const alikeFacts = ['version', 'contract'] as const;
export type AlikeFact = (typeof alikeFacts)[number];

/**
 * @param replicas one that has not said it yet is still starting, and does not count
 * @returns who has what, as `a, b: 0.1.0; c: 0.2.0`; undefined where all have the same
 */
export function differenceIn(fact: AlikeFact, replicas: Pick<LiveReplica, 'instance' | 'facts'>[]): string | undefined {
  const names = new Map<string, string[]>();
  for (const { instance, facts } of replicas) {
    const value = facts[fact];
    if (value !== undefined) names.set(value, [...(names.get(value) ?? []), instance]);
  }
  if (names.size < 2) return undefined;
  return [...names].map(([value, instances]) => `${instances.join(', ')}: ${value}`).join('; ');
}

/** In which facts they differ, a line each. */
export function differencesAmong(replicas: Pick<LiveReplica, 'instance' | 'facts'>[]): string[] {
  return alikeFacts.flatMap((fact) => {
    const difference = differenceIn(fact, replicas);
    return difference === undefined ? [] : [`the replicas differ in their ${fact} (${difference}): finish the rollout`];
  });
}
