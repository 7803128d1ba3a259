// HTTP/1.1 that is nearly right: arbitraries of request texts (latin1, as on the wire) and of whole exchanges. In come the
// paths and headers that mean something to the server, out go requests right and wrong in their line, headers and framing.

import fc from 'fast-check';
import type { Exchange } from './wire.ts';

const nl = '\r\n';

export interface RequestParts {
  method: fc.Arbitrary<string>;
  target: fc.Arbitrary<string>;
  /** Lines without their ends; beside Host and framing. */
  headers: fc.Arbitrary<string[]>;
  body: fc.Arbitrary<string>;
}

/** A framing for a body: the header lines and what follows them. */
type Framing = (body: string) => { lines: string[]; body: string };

const rightFraming: Framing = (body) => ({ lines: [`Content-Length: ${body.length}`], body });
const chunked = (body: string, extension = '', end = `0${nl}${nl}`) => {
  const half = Math.ceil(body.length / 2);
  const chunks = [body.slice(0, half), body.slice(half)].filter(Boolean);
  return chunks.map((chunk) => `${chunk.length.toString(16)}${extension}${nl}${chunk}${nl}`).join('') + end;
};
const oddFramings: Framing[] = [
  (body) => ({ lines: ['Transfer-Encoding: chunked'], body: chunked(body) }),
  (body) => ({ lines: ['Transfer-Encoding: chunked'], body: chunked(body, ';a="b"', `0${nl}X-Trailer: 1${nl}${nl}`) }),
  (body) => ({ lines: ['Transfer-Encoding: chunked'], body: chunked(body, '', '') }),
  (body) => ({ lines: ['Transfer-Encoding: chunked'], body: `ffffffff${nl}${body}` }),
  (body) => ({ lines: ['Transfer-Encoding: chunked'], body: `zz${nl}${body}` }),
  (body) => ({ lines: ['Transfer-Encoding: gzip, chunked'], body: chunked(body) }),
  (body) => ({ lines: ['Transfer-Encoding: identity'], body }),
  (body) => ({ lines: ['Transfer-Encoding: chunked', `Content-Length: ${body.length}`], body: chunked(body) }),
  (body) => ({ lines: [`Content-Length: ${body.length + 5}`], body }),
  (body) => ({ lines: [`Content-Length: ${Math.max(0, body.length - 3)}`], body }),
  (body) => ({ lines: [`Content-Length: ${body.length}`, 'Content-Length: 1'], body }),
  (body) => ({ lines: ['Content-Length: -1'], body }),
  (body) => ({ lines: ['Content-Length: 0x10'], body }),
  (body) => ({ lines: ['Content-Length: 30000001'], body }),
  (body) => ({ lines: ['Content-Length: 29999999'], body }),
  (body) => ({ lines: ['Content-Length: 99999999999999999999'], body }),
  (body) => ({ lines: [], body }),
  (body) => ({ lines: ['Expect: 100-continue', `Content-Length: ${body.length}`], body }),
  (body) => ({ lines: ['Expect: a miracle', `Content-Length: ${body.length}`], body }),
];

const oddLines = [
  'Connection: close',
  'Connection: keep-alive, content-length',
  'Connection: upgrade',
  'Upgrade: h2c',
  'Upgrade: websocket',
  'Accept: text/event-stream',
  'Accept-Encoding: gzip',
  'Content-Encoding: gzip',
  'Cookie: a=b; __proto__=1',
  'Origin: http://localhost:3010',
  'Origin: null',
  'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  'traceparent: 00-zz-01',
  'X-Forwarded-For: 1.2.3.4, ::1',
  'Authorization: Basic eA==',
  'Access-Control-Request-Method: POST',
  '__proto__: x',
  'constructor: x',
  ': nothing',
  'X-Odd : space',
  ' folded: line',
  'X-Nul: a\u0000b',
  'X-Latin: \u00e4\u00ff',
  'X-Tab:\t\ta',
  `X-Long: ${'l'.repeat(9_000)}`,
  `X-Longer: ${'l'.repeat(70_000)}`,
];

const hosts = fc.constantFrom(
  ['Host: x'],
  ['Host: x'],
  ['Host: x'],
  ['Host: x'],
  ['Host: x'],
  ['host: 127.0.0.1:1'],
  [],
  ['Host: a', 'Host: b'],
  ['Host: '],
);
const versions = fc.oneof(
  { weight: 20, arbitrary: fc.constant('HTTP/1.1') },
  { weight: 1, arbitrary: fc.constantFrom('HTTP/1.0', 'HTTP/2.0', 'HTTP/9.9', 'HTTP/1.1 ', 'http/1.1', '') },
);

/** One request, mostly a right one. */
export function requestText({ method, target, headers, body }: RequestParts): fc.Arbitrary<string> {
  const framing = fc.oneof(
    { weight: 3, arbitrary: fc.constant(rightFraming) },
    { weight: 1, arbitrary: fc.constantFrom(...oddFramings) },
  );
  const odd = fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom(...oddLines), { minLength: 1, maxLength: 3 }) },
  );
  return fc
    .tuple(method, target, versions, hosts, headers, odd, framing, body)
    .map(([verb, path, version, host, own, more, frame, text]) => {
      const { lines, body: framed } = frame(text);
      const withoutBody = (verb === 'GET' || verb === 'HEAD') && text === '';
      const head = [`${verb} ${path} ${version}`, ...host, ...own, ...more, ...(withoutBody ? [] : lines)];
      return head.join(nl) + nl + nl + (withoutBody ? '' : framed);
    });
}

/** Texts on one connection, in these pieces or in one, or split anywhere else, maybe not to the end. */
export function exchangeOf(texts: fc.Arbitrary<string[]>): fc.Arbitrary<Exchange> {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  return fc
    .record({
      texts,
      splits: fc.array(share, { maxLength: 3 }),
      sent: fc.oneof({ weight: 6, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: share }),
      joined: fc.boolean(),
      pauseMs: fc.constantFrom(0, 0, 1, 5, 20),
      leave: fc.oneof(
        { weight: 4_000, arbitrary: fc.constant('wait' as const) },
        { weight: 1_000, arbitrary: fc.constantFrom('fin' as const, 'deaf' as const, 'reset' as const) },
        { weight: 1, arbitrary: fc.constant('patient' as const) },
      ),
    })
    .map(({ texts: all, splits, sent, joined, pauseMs, leave }) => {
      const whole = all.join('');
      const end = Math.ceil(sent * whole.length);
      let at = 0;
      const natural = all.map((text) => {
        at += text.length;
        return at;
      });
      const odd = splits.map((split) => Math.floor(split * end));
      const ends = [...new Set([...(joined ? [] : natural), ...odd, end])].filter((each) => each <= end);
      const sorted = ends.sort((a, b) => a - b);
      const pieces = sorted.map((to, index) => whole.slice(sorted[index - 1] ?? 0, to)).filter(Boolean);
      return { pieces, pauseMs, leave };
    });
}

/** Another spelling of a path. */
export function spelling(path: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const spell = fc.constantFrom<(path: string) => string>(
    (one) => one.toUpperCase(),
    (one) => `${one}/`,
    (one) => `${one}?a=b&a=c`,
    (one) => `${one}?${'a&'.repeat(3_000)}`,
    (one) => `/.${one}`,
    (one) => `/x/..${one}`,
    (one) => `/${one}`,
    (one) => one.replaceAll('/', '//'),
    (one) => one.replaceAll('/', '/./'),
    (one) => one.replaceAll('/', '%2f'),
    (one) => one.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    (one) => one.replace(/[a-z]/, (letter) => `%25${letter.charCodeAt(0).toString(16)}`),
    (one) => one.replaceAll('/', '\\'),
    (one) => `${one}%`,
    (one) => `${one}%00`,
    (one) => `${one}%c0%af..`,
    (one) => `${one}\u00e4`,
    (one) => `${one}#fragment`,
    (one) => `${one};a=b`,
    (one) => `http://x${one}`,
    (one) => `http://user:pass@x:1${one}`,
    (one) => `//x${one}`,
    (one) => one.slice(1),
    () => '*',
    () => '',
    () => '/',
    () => `/${'../'.repeat(50)}`,
    () => `/${'x'.repeat(20_000)}`,
    () => 'x:1',
  );
  return fc.oneof(
    { weight: 6, arbitrary: path },
    { weight: 1, arbitrary: fc.tuple(path, spell).map(([one, to]) => to(one)) },
  );
}
