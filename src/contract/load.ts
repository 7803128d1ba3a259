// Loads a contract: in goes YAML text, out comes the compiled Contract or the list of every fault with its line.
// Promises: a contract that loads cannot fail later on a name; what remains at run time is the calls' own bodies.

import { createHash } from 'node:crypto';
import { checkYaml, type YamlFault } from '../checked-yaml.ts';
import { CrossfadeError } from '../errors.ts';
import { CompileFaults, compileCall, compileForeign, compileHub, compileTypes } from './compile.ts';
import type { Contract } from './contract.ts';
import { compileRooms } from './rooms.ts';
import { type CallDocument, type ContractDocument, contractSchema } from './schema.ts';
import { compileShown } from './shown.ts';

/** CONTRACT_INVALID with every fault that was found. */
export class ContractError extends CrossfadeError {
  readonly faults: YamlFault[];

  constructor(source: string, faults: YamlFault[]) {
    const lines = faults.map((fault) => `${source}:${fault.line}: ${fault.place}: ${fault.message}`);
    super('CONTRACT_INVALID', lines.join('\n'));
    this.faults = faults;
  }
}

/**
 * @param text YAML
 * @param source the file's name, for the faults' lines
 * @param maxLength how many entries each stream keeps; undefined: as many as the text says
 * @throws ContractError
 */
export function loadContract(text: string, source: string, maxLength?: number): Contract {
  const refuse = (faults: YamlFault[]): never => {
    throw new ContractError(source, faults);
  };
  const { value: parsed, placed } = checkYaml(text, source, contractSchema, refuse);

  const faults = new CompileFaults();
  const types = compileTypes(parsed.types, faults);
  const streams = new Map(
    Object.entries(parsed.streams).map(([name, length]) => [name, { name, maxLength: maxLength ?? length }]),
  );
  const scope = { types, streams, hubNames: new Set(Object.keys(parsed.hubs)), faults };
  const calls = Object.entries(parsed.calls).map(([path, call]) => compileCall(path, call, scope));
  const foreign = Object.entries(parsed.foreign).map(
    ([type, entry]) => [type, compileForeign(type, entry, scope)] as const,
  );
  const hubs = Object.entries(parsed.hubs).map(([name, hub]) => compileHub(name, hub, scope));
  if (faults.list.length > 0) refuse(placed(faults.list));

  const callsByPath = new Map(calls.map((call) => [lowerCase(call.path), call]));
  const hubsByName = new Map(hubs.map((hub) => [hub.name.toLowerCase(), hub]));
  const foreignByType = new Map(foreign);
  return {
    name: parsed.contract,
    fingerprint: createHash('sha256').update(text).digest('hex').slice(0, 16),
    streams,
    eventTypes: typesOf(Object.values(parsed.calls)),
    coalescedTypes: typesOf(publishing(parsed).filter(({ coalesce }) => coalesce !== undefined)),
    calls,
    call: (path) => callsByPath.get(lowerCase(path).replace(/\/$/, '')),
    hubs,
    hub: (name) => hubsByName.get(name.toLowerCase()),
    foreign: (eventType) => foreignByType.get(eventType),
    roomOf: compileRooms(parsed),
    shown: compileShown(parsed),
  };
}

/** Everything that an event comes from: the calls, and what a hub's clients send to others. */
function publishing({ calls, hubs }: ContractDocument): Publishing[] {
  const effects = Object.values(hubs).flatMap(({ connect, methods }) => [
    ...connect,
    ...Object.values(methods).flatMap((method) => method.effects),
  ]);
  const others = effects.map((effect) =>
    'others' in effect ? effect : 'join' in effect ? effect.on_disconnect : undefined,
  );
  return [...Object.values(calls), ...others.filter((each) => each !== undefined)];
}

type Publishing = Pick<CallDocument, 'event' | 'coalesce'>;

function typesOf(documents: Publishing[]): string[] {
  const types = documents.flatMap(({ event }) =>
    typeof event === 'string' ? [event] : [...Object.values(event.cases), event.else],
  );
  return [...new Set(types)];
}

/** ASP.NET's routes ignore the case of ASCII alone: for them a Kelvin sign is no k. */
function lowerCase(path: string): string {
  return path.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
