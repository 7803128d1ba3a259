// What of an answer or a record must be as recorded: in come texts and answers, out go forms that compare by deepEqual.
// Promises: numbers keep their text and keys their order and repeats; only string escapes, whitespace, random ids, times
// and the wording of 400s are let go.

import assert from 'node:assert/strict';
import type { HttpAnswer } from './recording-http.ts';

const headersThatMatter = [
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'allow',
  'content-type',
  'vary',
  'www-authenticate',
];

/** In front of a token crossfade names the replica that has answered, and its bridge. */
const idForm = /^([\w-]{8}~([\w-]{8})?~)?[\w-]{22}$/;
const lifetime = /,"tokenLifetimeSeconds":\d+/;

/** A JSON text with its strings written one way and its whitespace gone. */
export function comparableRecord(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|\s+/gs, (token) =>
    token.startsWith('"') ? JSON.stringify(JSON.parse(token)) : '',
  );
}

/** @param options.offersRefresh reads an answer without the number that tells when a token is to be renewed */
export function comparableAnswer({ status, headers, body }: HttpAnswer, { offersRefresh = false } = {}): object {
  const type = headers['content-type'] ?? '';
  return {
    status,
    headers: Object.fromEntries(
      headersThatMatter.flatMap((name) => (headers[name] === undefined ? [] : [[name, withoutTimes(headers[name])]])),
    ),
    body: /json/.test(type) ? comparableJson(offersRefresh ? body.replace(lifetime, '') : body, status) : body,
  };
}

/** When a token expired differs from run to run. */
function withoutTimes(header: string): string {
  return header.replace(/'\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d'/, "'MM/dd/yyyy HH:mm:ss'");
}

function comparableJson(body: string, status: number): unknown {
  const value = JSON.parse(body);
  if (status === 400) return comparableProblem(value);
  const ids = body.matchAll(/"connection(?:Id|Token)":"([^"]*)"/g);
  for (const [, id] of ids) assert.match(id!, idForm, 'an id is 16 bytes in base64url');
  return comparableRecord(body)
    .replace(/"(connection(?:Id|Token)|traceId)":"[^"]+"/g, '"$1":"…"')
    .replace(/"timestamp":"[\d-]{10}T[\d:.]+Z"/, '"timestamp":"…"');
}

/** Which fields are named must be the same, what is said about them need not. */
function comparableProblem({
  errors,
  traceId,
  ...rest
}: {
  errors: Record<string, string[]>;
  traceId: string;
}): object {
  const named = Object.entries(errors).map(([path, texts]) => [path, missingNames(texts)]);
  return { ...rest, errors: Object.fromEntries(named), isTraced: traceId.length > 0 };
}

/** The fields in `… missing required properties including: 'event_id'.` */
function missingNames(texts: string[]): string[] {
  const [, list = ''] = /including:(.*)/.exec(texts.join(' ')) ?? [];
  return Array.from(list.matchAll(/'(\w+)'/g), ([, name]) => name!);
}
