// Typed bodies: in come a declared shape and a JSON text, out come the normalised raw values of its fields.
// Promises: as strict and as lenient as ASP.NET's model binding (as test/fixtures/bridge-recording.json has it): names in any case, the
// last repeat wins, unknown fields dropped, missing optional ones filled in, a fault names its field.

import { BodyFault, type Values } from './contract.ts';
import { isListOfStrings, JsonFault, parseRaw, type RawNode } from './json.ts';

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

/** A declared shape in its place within a body: whatever a call's reading needs of it is made once, with the contract. */
interface ShapeInBody {
  /** From the body on. */
  path: string[];
  fields: FieldInBody[];
  /** By the name as it is written, and by that in lower case. */
  byName: Map<string, FieldInBody>;
}

interface FieldInBody extends Omit<Field, 'type'> {
  type: Exclude<Field['type'], Shape> | ShapeInBody;
  index: number;
  path: string[];
  /** {@link path} with dots: the name of its value. */
  valueName: string;
  /** Its name as a member of an object is written. */
  key: string;
}

/**
 * @returns a function that takes a JSON text of one object, and gives the raw values of all fields, nested ones under dotted names;
 *   objects are written out normalised. It throws BodyFault.
 */
export function compileBody(shape: Shape): (text: string) => Values {
  const place = placeAt(shape, []);
  return (text) => {
    const reading = new BodyReading();
    reading.object(place, parseCallBody(text));
    return reading.finish();
  };
}

function placeAt(shape: Shape, path: string[]): ShapeInBody {
  const byName: ShapeInBody['byName'] = new Map();
  const fields = [...shape].map(([lowerName, field], index) => {
    const fieldPath = [...path, field.name];
    const type = field.type instanceof Map ? placeAt(field.type, fieldPath) : field.type;
    const inBody = { ...field, type, index, path: fieldPath, valueName: fieldPath.join('.'), key: `"${field.name}":` };
    byName.set(field.name, inBody).set(lowerName, inBody);
    return inBody;
  });
  return { path, fields, byName };
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
  /** Required fields that were null, by their value's name: found by the bridge's validation, which runs after all of its parsing. */
  readonly #nulls = new Map<string, FieldInBody>();

  finish(): Values {
    if (this.#nulls.size > 0) {
      throw new BodyFault(Object.fromEntries([...this.#nulls.values()].map(({ path }) => requiredError(path))));
    }
    return this.#values;
  }

  object(place: ShapeInBody, node: RawNode): string {
    const { members } = node;
    if (members === undefined)
      throw faultAt(jsonPath(place.path), 'The JSON value could not be converted to an object.');
    const raws: (string | undefined)[] = new Array(place.fields.length).fill(undefined);
    for (const [name, value] of members) {
      const field = place.byName.get(name) ?? place.byName.get(name.toLowerCase());
      if (field === undefined) continue;
      if (raws[field.index] !== undefined) this.#forget(field);
      raws[field.index] = this.#field(field, value);
    }
    this.#fillIn(place, raws);
    return writeObject(place, raws);
  }

  #field(field: FieldInBody, node: RawNode): string {
    const raw = node.kind === 'null' ? this.#null(field) : this.#convert(field, node);
    this.#values.set(field.valueName, raw);
    return raw;
  }

  #null(field: FieldInBody): string {
    if (field.type === 'int' || field.type === 'bool') throw cannotConvert(field.type, field.path);
    if (!field.optional) this.#nulls.set(field.valueName, field);
    return 'null';
  }

  /** The last of a repeated name wins: nothing that an earlier one held, or lacked, counts. */
  #forget({ valueName, type }: FieldInBody): void {
    for (const found of [this.#values, this.#nulls]) {
      found.delete(valueName);
      // A body may repeat a name a hundred thousand times: only an object has values below its own.
      if (typeof type === 'string') continue;
      for (const name of found.keys()) if (name.startsWith(`${valueName}.`)) found.delete(name);
    }
  }

  #convert({ type, path }: FieldInBody, node: RawNode): string {
    switch (type) {
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
        if (isListOfStrings(node.raw)) return node.raw;
        break;
      default:
        return this.object(type, node);
    }
    throw cannotConvert(type, path);
  }

  #fillIn({ fields, path }: ShapeInBody, raws: (string | undefined)[]): void {
    const missing: string[] = [];
    for (const { index, fallback, optional, name, valueName } of fields) {
      if (raws[index] !== undefined) continue;
      const raw = fallback ?? 'null';
      if (fallback === undefined && !optional) missing.push(name);
      raws[index] = raw;
      this.#values.set(valueName, raw);
    }
    if (missing.length > 0) {
      const names = missing.map((name) => `'${name}'`).join(', ');
      throw faultAt(jsonPath(path), `The JSON value was missing required properties including: ${names}.`);
    }
  }
}

function writeObject({ fields }: ShapeInBody, raws: (string | undefined)[]): string {
  let text = '{';
  for (const { index, key } of fields) text += index === 0 ? key + raws[index] : `,${key}${raws[index]}`;
  return `${text}}`;
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
