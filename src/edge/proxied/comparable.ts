// Whether two arguments are the same message: in comes a parsed value, out goes a text that is equal for equal values.

/**
 * Order and case of names do not count: MessagePack shows .NET's own spelling of a name (`UserId`), JSON the camelCase
 * one.
 */
export function comparable(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(comparable).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).map(
    ([name, member]) => `${JSON.stringify(name.toLowerCase())}:${comparable(member)}`,
  );
  return `{${members.sort().join(',')}}`;
}
