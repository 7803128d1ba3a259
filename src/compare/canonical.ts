// Whether two messages are the same to their clients: in come the arguments of each, out goes a text that is equal for equal ones.
// The order of an object's members never counts, a number counts by its text in JSON and by its value in MessagePack (which has no text),
// and there names count without their case (.NET writes its own spelling of them).

import { NumberText, parseExact } from '../contract/exact.ts';
import type { HubProtocolName } from '../edge/hub-protocol/protocol.ts';

/** Paths of members in lower case, such as `message.updatedat`; of a list's items as of the list. */
export interface Lenience {
  ignore: ReadonlySet<string>;
  unordered: ReadonlySet<string>;
}

const strict: Lenience = { ignore: new Set(), unordered: new Set() };

/** @throws RangeError where it nests too deep */
function canonicalText(args: unknown[], wire: HubProtocolName, lenience: Lenience = strict): string {
  return `[${args.map((arg) => textOfValue(arg, '', wire, lenience)).join(',')}]`;
}

/**
 * A message as it is compared: by all of its arguments, and without what does not count.
 * @throws RangeError where it nests too deep
 */
export function comparedTexts(
  args: unknown[],
  wire: HubProtocolName,
  lenience = strict,
): { exact: string; lenient: string } {
  const exact = canonicalText(args, wire);
  const isLenient = lenience.ignore.size + lenience.unordered.size > 0;
  return { exact, lenient: isLenient ? canonicalText(args, wire, lenience) : exact };
}

function textOfValue(value: unknown, path: string, wire: HubProtocolName, lenience: Lenience): string {
  if (value instanceof NumberText) return wire === 'json' ? value.text : String(Number(value.text));
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) {
    const items = value.map((item) => textOfValue(item, path, wire, lenience));
    return `[${(lenience.unordered.has(path) ? items.sort() : items).join(',')}]`;
  }
  const members: string[] = [];
  for (const [name, member] of Object.entries(value)) {
    const folded = name.toLowerCase();
    const at = path === '' ? folded : `${path}.${folded}`;
    if (lenience.ignore.has(at)) continue;
    members.push(`${JSON.stringify(wire === 'json' ? name : folded)}:${textOfValue(member, at, wire, lenience)}`);
  }
  return `{${members.sort().join(',')}}`;
}

/**
 * How two messages differ.
 * @param a of {@link canonicalText}, as `b`
 * @returns the paths of which the values differ, and the share of all values that are equal
 */
export function differenceBetween(a: string, b: string): { paths: string[]; alike: number } {
  const [ofA, ofB] = [leavesOf(a), leavesOf(b)];
  const all = new Set([...ofA.keys(), ...ofB.keys()]);
  const paths = [...all].filter((path) => ofA.get(path) !== ofB.get(path));
  return { paths, alike: all.size === 0 ? 0 : (all.size - paths.length) / all.size };
}

function leavesOf(text: string): Map<string, string> {
  const leaves = new Map<string, string>();
  const visit = (value: unknown, path: string) => {
    if (value instanceof NumberText) leaves.set(path, value.text);
    else if (typeof value !== 'object' || value === null) leaves.set(path, JSON.stringify(value));
    else for (const [name, member] of Object.entries(value)) visit(member, path === '' ? name : `${path}.${name}`);
  };
  for (const arg of parseExact(text) as unknown[]) visit(arg, '');
  return leaves;
}
