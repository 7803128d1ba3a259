// Templates of the contract: `{name}` stands for a value. In come the values of a call or of a hub method, out comes
// raw JSON (arguments) or plain text (groups, rooms, methods). The names are checked when the contract is loaded.

import type { Values } from './contract.ts';

/** `"{message}"` is the value itself, other text a string; a map is an object of such templates. */
export type ArgumentTemplate = string | Record<string, string>;

const whole = /^\{([^{}]+)\}$/;
const placeholder = /\{([^{}]+)\}/g;

/** The value names that a template uses. */
export function namesIn(template: ArgumentTemplate): string[] {
  const texts = typeof template === 'string' ? [template] : Object.values(template);
  return texts.flatMap((text) => [...text.matchAll(placeholder)].map((match) => match[1]!));
}

/** @returns a function that writes the template as raw JSON */
export function compileArgument(template: ArgumentTemplate): (values: Values) => string {
  if (typeof template === 'string') return compileJson(template);
  const members = Object.entries(template).map(([name, text]) => [JSON.stringify(name), compileJson(text)] as const);
  return (values) => `{${members.map(([name, write]) => `${name}:${write(values)}`).join(',')}}`;
}

/** @returns a function that writes the template as plain text; null values are empty */
export function compileText(template: string): (values: Values) => string {
  const parts = template.split(placeholder);
  // split() with one capture alternates: literal, name, literal, name, …
  return (values) => parts.map((part, index) => (index % 2 === 0 ? part : textOf(values, part))).join('');
}

/** The decoded text of a value: of a string its characters, of null nothing, of all else its JSON. */
export function textOf(values: Values, name: string): string {
  const raw = values.get(name) ?? 'null';
  if (raw === 'null') return '';
  return raw.startsWith('"') ? (JSON.parse(raw) as string) : raw;
}

function compileJson(template: string): (values: Values) => string {
  const name = whole.exec(template)?.[1];
  if (name !== undefined) return (values) => values.get(name) ?? 'null';
  const literal = JSON.stringify(template);
  return () => literal;
}
