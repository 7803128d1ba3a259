// Loads a contract: in goes YAML text, out comes the compiled Contract or the list of every fault with its line.
// Promises: a contract that loads cannot fail later on a name; what remains at run time is the calls' own bodies.

import { createHash } from 'node:crypto';
import { LineCounter, parseDocument } from 'yaml';
import { CrossfadeError } from '../errors.ts';
import { CompileFaults, compileCall, compileForeign, compileHub, compileTypes, type Path } from './compile.ts';
import type { Contract } from './contract.ts';
import { compileRooms } from './rooms.ts';
import { type CallDocument, type ContractDocument, contractSchema } from './schema.ts';

export interface ContractFault {
  /** From 1; 1 where the fault has no place of its own. */
  line: number;
  /** Such as `calls.chat/message.room`. */
  place: string;
  message: string;
}

/** CONTRACT_INVALID with every fault that was found. */
export class ContractError extends CrossfadeError {
  readonly faults: ContractFault[];

  constructor(source: string, faults: ContractFault[]) {
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
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, logLevel: 'error' });
  const lineOf = (path: Path) => lines.linePos(offsetOf(document, path)).line;
  const refuse = (faults: { path: Path; message: string }[]): never => {
    const placed = faults.map(({ path, message }) => ({
      line: lineOf(path),
      place: path.join('.') || source,
      message,
    }));
    throw new ContractError(
      source,
      placed.sort((a, b) => a.line - b.line),
    );
  };

  refuseBrokenYaml(document, source);
  const parsed = contractSchema.safeParse(treeOf(document, (message) => refuse([{ path: [], message }])));
  if (!parsed.success) {
    return refuse(parsed.error.issues.map(({ path, message }) => ({ path: path as Path, message })));
  }

  const faults = new CompileFaults();
  const types = compileTypes(parsed.data.types, faults);
  const streams = new Map(
    Object.entries(parsed.data.streams).map(([name, length]) => [name, { name, maxLength: maxLength ?? length }]),
  );
  const scope = { types, streams, hubNames: new Set(Object.keys(parsed.data.hubs)), faults };
  const calls = Object.entries(parsed.data.calls).map(([path, call]) => compileCall(path, call, scope));
  const foreign = Object.entries(parsed.data.foreign).map(
    ([type, entry]) => [type, compileForeign(type, entry, scope)] as const,
  );
  const hubs = Object.entries(parsed.data.hubs).map(([name, hub]) => compileHub(name, hub, scope));
  if (faults.list.length > 0) return refuse(faults.list);

  const callsByPath = new Map(calls.map((call) => [lowerCase(call.path), call]));
  const hubsByName = new Map(hubs.map((hub) => [hub.name.toLowerCase(), hub]));
  const foreignByType = new Map(foreign);
  return {
    name: parsed.data.contract,
    fingerprint: createHash('sha256').update(text).digest('hex').slice(0, 16),
    streams,
    eventTypes: typesOf(Object.values(parsed.data.calls)),
    coalescedTypes: typesOf(publishing(parsed.data).filter(({ coalesce }) => coalesce !== undefined)),
    calls,
    call: (path) => callsByPath.get(lowerCase(path).replace(/\/$/, '')),
    hubs,
    hub: (name) => hubsByName.get(name.toLowerCase()),
    foreign: (eventType) => foreignByType.get(eventType),
    roomOf: compileRooms(parsed.data),
  };
}

/** @throws ContractError */
function refuseBrokenYaml({ errors }: ReturnType<typeof parseDocument>, source: string): void {
  if (errors.length === 0) return;
  const faults = errors.map((error) => ({
    line: error.linePos?.[0].line ?? 1,
    place: source,
    message: error.message.split('\n')[0]!,
  }));
  throw new ContractError(source, faults);
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

/** What only shows when aliases are followed: one that names nothing, or so many that they would fill the memory. */
function treeOf(document: ReturnType<typeof parseDocument>, refuse: (message: string) => never): unknown {
  try {
    return document.toJS();
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** Where a path stands in the text; of the nearest parent where it does not exist (a missing key, say). */
function offsetOf(document: ReturnType<typeof parseDocument>, path: Path): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return node.range[0];
  }
  return 0;
}

/** ASP.NET's routes ignore the case of ASCII alone: for them a Kelvin sign is no k. */
function lowerCase(path: string): string {
  return path.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
