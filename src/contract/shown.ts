// What hub messages of one name come from: in come the contract's calls and hubs, out goes, for a hub and a message's name, whether calls of
// the backend, clients or the hub itself send it, and what does not count where two of them are compared.

import type { ShownBy } from './contract.ts';
import type { ContractDocument, EffectDocument } from './schema.ts';

/** @returns hub and name -> where such a message comes from; undefined where the contract does not know it */
export function compileShown({
  calls,
  hubs,
}: Pick<ContractDocument, 'calls' | 'hubs'>): (hub: string, method: string) => ShownBy | undefined {
  const known = new Map<string, ShownBy & { groups: RegExp[] }>();
  const at = (hub: string, method: string) => {
    const key = `${hub} ${method}`;
    const shown = known.get(key) ?? nothingShown();
    known.set(key, shown);
    return shown;
  };
  for (const { deliver, compare } of Object.values(calls)) {
    for (const { hub, group, method } of deliver) {
      const shown = at(hub, method);
      shown.byCalls = true;
      shown.groups.push(patternOfGroups(group));
      for (const path of compare?.ignore ?? []) shown.ignore.add(path.toLowerCase());
      for (const path of compare?.unordered ?? []) shown.unordered.add(path.toLowerCase());
    }
  }
  const ofAnyName = new Set<string>();
  for (const [hub, { connect, methods }] of Object.entries(hubs)) {
    for (const effect of [...connect, ...Object.values(methods).flatMap(({ effects }) => effects)]) {
      const others = sentToOthers(effect);
      if (others?.includes('{')) ofAnyName.add(hub);
      else if (others !== undefined) at(hub, others).byClients = true;
      if ('caller' in effect) at(hub, effect.caller);
    }
  }
  for (const [key, shown] of known) if (ofAnyName.has(key.slice(0, key.indexOf(' ')))) shown.byClients = true;
  const byAnyClient = { ...nothingShown(), byClients: true };
  return (hub, method) => known.get(`${hub} ${method}`) ?? (ofAnyName.has(hub) ? byAnyClient : undefined);
}

function nothingShown(): ShownBy & { groups: RegExp[] } {
  const groups: RegExp[] = [];
  return {
    byCalls: false,
    byClients: false,
    goesTo: (group) => groups.some((pattern) => pattern.test(group)),
    groups,
    ignore: new Set(),
    unordered: new Set(),
  };
}

/** @param template such as `request:{request_id}` */
function patternOfGroups(template: string): RegExp {
  const literals = template.split(/\{[^{}]+\}/).map((literal) => RegExp.escape(literal));
  return new RegExp(`^${literals.join('.*')}$`, 's');
}

function sentToOthers(effect: EffectDocument): string | undefined {
  if ('others' in effect) return effect.method;
  return 'join' in effect ? effect.on_disconnect?.method : undefined;
}
