// Typed bodies: in come a declared shape and a JSON text, out come the normalised raw values of its fields.
// Promises: as strict and as lenient as ASP.NET's model binding (legacy-bridge.md, "What the recording shows"): names
// in any case, the last repeat wins, unknown fields dropped, missing optional ones filled in, a fault names its field.

import { BodyFault, type Values } from './contract.ts';
import { JsonFault, parseRaw, type RawNode } from './json.ts';

/** ASP.NET's limit for bodies; the envelope counts. */
const maxBodyDepth = 32;

export type Shape = Map<string, Field>;

export interface Field {
  /** As it is written to clients. */
  name: string;
  type: 'string' | 'int' | 'bool' | 'any' | 'string[]' | Shape;
  /** May be missing or null; then it is null. */
  optional: boolean;
  /** May be missing (not null); then it is this raw JSON. */
  fallback?: string;
}

/**
 * @param text a JSON text of one object
 * @returns the raw values of all fields, nested ones under dotted names; objects are written out normalised
 * @throws BodyFault
 */
export function readValues(shape: Shape, text: string): Values {
  const node = parseCallBody(text);
  const reading = new BodyReading();
  reading.object(shape, node, []);
  return reading.finish();
}

function parseCallBody(text: string): RawNode {
  if (text.trim() === '' || text.trim() === 'null') {
    throw new BodyFault({ '': ['A non-empty request body is required.'], ...missingArgument });
  }
  try {
    return parseRaw(text, maxBodyDepth);
  } catch (error) {
    if (error instanceof JsonFault) throw faultAt(error.path, error.message);
    throw error;
  }
}

class BodyReading {
  readonly #values: Values = new Map();
  /** Required fields that were null, by place: found by the bridge's validation, which runs after all of its parsing. */
  readonly #nulls = new Map<string, string[]>();

  finish(): Values {
    if (this.#nulls.size > 0) {
      throw new BodyFault(Object.fromEntries([...this.#nulls.values()].map((path) => requiredError(path))));
    }
    return this.#values;
  }

  object(shape: Shape, node: RawNode, path: string[]): string {
    const { members } = node;
    if (members === undefined) throw faultAt(jsonPath(path), 'The JSON value could not be converted to an object.');
    const raws = new Map<string, string>();
    for (const [name, value] of members) {
      const field = shape.get(name.toLowerCase());
      if (field === undefined) continue;
      const fieldPath = [...path, field.name];
      if (raws.has(field.name)) this.#forget(fieldPath);
      raws.set(field.name, this.#field(field, value, fieldPath));
    }
    this.#fillIn(shape, raws, path);
    return writeObject(shape, raws);
  }

  #field(field: Field, node: RawNode, path: string[]): string {
    const raw = node.kind === 'null' ? this.#null(field, path) : this.#convert(field, node, path);
    this.#values.set(path.join('.'), raw);
    return raw;
  }

  #null(field: Field, path: string[]): string {
    if (field.type === 'int' || field.type === 'bool') throw cannotConvert(field.type, path);
    if (!field.optional) this.#nulls.set(path.join('.'), path);
    return 'null';
  }

  /** The last of a repeated name wins: nothing that an earlier one held, or lacked, counts. */
  #forget(path: string[]): void {
    const place = path.join('.');
    for (const found of [this.#values, this.#nulls]) {
      for (const name of found.keys()) if (name === place || name.startsWith(`${place}.`)) found.delete(name);
    }
  }

  #convert(field: Field, node: RawNode, path: string[]): string {
    switch (field.type) {
      case 'any':
        return node.raw;
      case 'string':
        if (node.kind === 'string') return node.raw;
        break;
      case 'bool':
        if (node.kind === 'true' || node.kind === 'false') return node.raw;
        break;
      case 'int': {
        const integer = toInt32(node);
        if (integer !== undefined) return integer;
        break;
      }
      case 'string[]':
        if (node.items?.every((item) => item.kind === 'string' || item.kind === 'null')) return node.raw;
        break;
      default:
        return this.object(field.type, node, path);
    }
    throw cannotConvert(field.type, path);
  }

  #fillIn(shape: Shape, raws: Map<string, string>, path: string[]): void {
    const missing: string[] = [];
    for (const field of shape.values()) {
      if (raws.has(field.name)) continue;
      const raw = field.fallback ?? 'null';
      if (field.fallback === undefined && !field.optional) missing.push(field.name);
      raws.set(field.name, raw);
      this.#values.set([...path, field.name].join('.'), raw);
    }
    if (missing.length > 0) {
      const names = missing.map((name) => `'${name}'`).join(', ');
      throw faultAt(jsonPath(path), `The JSON value was missing required properties including: ${names}.`);
    }
  }
}

function writeObject(shape: Shape, raws: Map<string, string>): string {
  const members: string[] = [];
  for (const field of shape.values()) members.push(`"${field.name}":${raws.get(field.name)}`);
  return `{${members.join(',')}}`;
}

/** A number or a string of digits that fits 32 bits (System.Text.Json with AllowReadingFromString). */
function toInt32(node: RawNode): string | undefined {
  const text = node.kind === 'string' ? node.text! : node.raw;
  if (node.kind !== 'string' && node.kind !== 'number') return undefined;
  if (!/^[+-]?\d+$/.test(text)) return undefined;
  const value = Number(text);
  return value >= -2147483648 && value <= 2147483647 ? String(value + 0) : undefined;
}

/** The bridge's binder adds this to every body that it could not parse: its parameter is then empty. */
const missingArgument = { evt: ['The evt field is required.'] };

function faultAt(path: string, text: string): BodyFault {
  return new BodyFault({ ...missingArgument, [path]: [text] });
}

function cannotConvert(type: string, path: string[]): BodyFault {
  return faultAt(jsonPath(path), `The JSON value could not be converted to ${type}. Path: ${jsonPath(path)}.`);
}

function jsonPath(path: string[]): string {
  return ['$', ...path].join('.');
}

/** Validation names a field by its property in the bridge: `request_id` is `RequestId`, nested `Session.Mode`. */
function requiredError(path: string[]): [string, string[]] {
  const names = path.map((name) => name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()));
  return [names.join('.'), [`The ${names.at(-1)} field is required.`]];
}
