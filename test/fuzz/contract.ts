// The contract loader's fuzzer: YAML that is nearly a contract. In comes a text, out may come a contract or CONTRACT_INVALID, and
// nothing else; what a contract that loads is asked with may only be refused by BodyFault. Needs no world.

import fc from 'fast-check';
import { parse, stringify } from 'yaml';
import { BodyFault, type Contract, type Effect, type Values } from '../../src/contract/contract.ts';
import { ContractError, loadContract } from '../../src/contract/load.ts';
import { contractText } from './contract-text.ts';
import { targetAlone } from './target.ts';

/** A small contract that has everything that the big one has; it loads 20 times as fast. */
export const smallContract = `
contract: small
streams: { events: 100, other: 1 }
types:
  Sender: { id: string, name: string? }
  Message: { id: string, count: "int = 0", seen: "bool = false", sender: Sender?, rest: any, tags: "string[]" }
calls:
  say:
    body: { event_id: string, room: string, user: string, kind: string, message: Message, ids: "string[]" }
    event: { by: kind, cases: { a: said }, else: told }
    stream: events
    room: "{room}"
    argument: { id: "{message.id}", by: "{user}" }
    ends_typing_of: user
    deliver:
      - { hub: chat, group: "room:{room}", method: Said }
      - { hub: chat, group: "user:{user}", method: Said, unless_empty: user }
  read:
    body: { event_id: string, room: string, user: string, ids: "string[]" }
    event: read
    stream: other
    room: "{room}"
    coalesce: { user: user, union: ids }
    argument: { room: "{room}", ids: "{ids}" }
    deliver:
      - { hub: chat, group: "room:{room}", method: Read }
foreign:
  said: { payload: { user: string, on: "bool = true" }, argument: { by: "{payload.user}" }, deliver: [{ hub: chat, group: "room:{room_id}", method: Said }] }
  told: { payload: any, argument: "{payload}", deliver: [{ hub: chat, group: "room:{room_id}", method: Said }] }
hubs:
  chat:
    connect:
      - join: "user:{sub}"
      - { caller: Hello, argument: { you: "{sub}" } }
    methods:
      Join:
        args: { room: string?, how: any }
        ignore_empty: [room]
        effects:
          - join: "room:{room}"
            counts_as_room: true
            on_disconnect: { method: Left, argument: "{room}", event: left, stream: events, room: "{room}" }
          - { caller: Joined, argument: "{room}" }
          - { others: "room:{room}", method: Came, argument: { how: "{how}" }, event: came, stream: events, room: "{room}" }
      Leave:
        args: { room: string? }
        effects:
          - { leave: "room:{room}" }
`;

type Tree = { [key: string]: Tree } | Tree[] | string | number | boolean | null;

const odd = fc.oneof(
  fc.constantFrom<Tree>(
    '',
    '{',
    '}',
    '{}',
    '{room',
    '{room}{',
    '{{room}}',
    '{room.id}',
    '{message}',
    '{message.sender.id}',
    '{payload.user.x}',
    '{sub}',
    '{__proto__}',
    'string',
    'int',
    'int = x',
    'bool = 7',
    'string[]?',
    'string[][]',
    'Message',
    'Nobody',
    'string =',
    '= 1',
    'any = {',
    '__proto__',
    'constructor',
    'chat',
    'event_id',
    'x'.repeat(5_000),
  ),
  fc.constantFrom<Tree>(null, true, 0, -1, 1.5, 1e300, [], {}, [[]], [null], { a: null }, { __proto__x: {} }),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Tree>,
);
const keys = fc.constantFrom(
  '',
  '__proto__',
  'constructor',
  'toString',
  'room',
  'event_id',
  'say',
  'SAY',
  'chat',
  'CHAT',
  'join',
  'x',
  'a.b',
  '{x}',
  'Message',
  'string',
);

type Change = { at: number; how: 'replace' | 'drop' | 'rename' | 'copy' | 'add'; value: Tree; key: string };
const changes = fc.record({
  at: fc.nat(10_000),
  how: fc.constantFrom<Change['how']>('replace', 'replace', 'drop', 'rename', 'copy', 'add'),
  value: odd,
  key: keys,
});

/** The document with some of its nodes changed; the text is written anew. */
const changedTree = fc.array(changes, { minLength: 1, maxLength: 3 }).map((all) => {
  const tree = parse(smallContract) as Tree;
  for (const change of all) apply(tree, change);
  return stringify(tree, { aliasDuplicateObjects: false });
});

function apply(tree: Tree, { at, how, value, key }: Change): void {
  const places: { parent: Record<string, Tree>; name: string }[] = [];
  const walk = (node: Tree) => {
    if (typeof node !== 'object' || node === null) return;
    for (const name of Object.keys(node)) {
      places.push({ parent: node as Record<string, Tree>, name });
      walk((node as Record<string, Tree>)[name]!);
    }
  };
  walk(tree);
  const place = places[at % places.length];
  if (place === undefined) return;
  const { parent, name } = place;
  const own = (field: string, to: Tree) =>
    Object.defineProperty(parent, field, { value: to, enumerable: true, writable: true, configurable: true });
  if (how === 'replace') own(name, value);
  else if (how === 'add') own(Array.isArray(parent) ? String(parent.length) : key, value);
  else if (how === 'copy') own(name, structuredClone(places[(at * 7) % places.length]!.parent));
  else if (Array.isArray(parent)) parent.splice(Number(name), 1);
  else {
    const kept = parent[name]!;
    delete parent[name];
    if (how === 'rename') own(key, kept);
  }
}

/** The text with slips of the pen, and what YAML has beyond JSON. */
const slips = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  drops: fc.constantFrom(0, 0, 1, 3, 40),
  inserts: fc.constantFrom(
    '',
    '\t',
    '  ',
    ':',
    '- ',
    '{',
    '}',
    '[',
    '"',
    "'",
    '#',
    '&a ',
    '*a ',
    '!!js/function ',
    '!!binary ',
    '!!set ',
    '<<: *a',
    '? ',
    '| ',
    '> ',
    '---\n',
    '%YAML 9.9\n---\n',
    '\u0000',
    '\u2028',
    '\ufeff',
    '"\\ud800"',
    '{x: &x [*x]}',
    '&a [*a, *a]',
    '__proto__: { x: 1 }\n',
    'say: &s {body: *s}\n',
    '0x',
    '.inf',
    '2026-01-01',
    '~',
  ),
});
const slipped = fc
  .tuple(
    fc.constantFrom(...Array(4).fill(smallContract), contractText),
    fc.array(slips, { minLength: 1, maxLength: 4 }),
  )
  .map(([text, all]) =>
    all.reduce((whole, { at, drops, inserts }) => {
      const index = Math.floor(at * whole.length);
      return whole.slice(0, index) + inserts + whole.slice(index + drops);
    }, text),
  );
const bombs = fc.constantFrom(
  `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 12 }, (_, i) => `b${i}: &b${i} [${`*${i === 0 ? 'a' : `b${i - 1}`},`.repeat(9)}]`).join('\n')}`,
  '['.repeat(20_000),
  '- '.repeat(5_000),
  `${'a: {'.repeat(2_000)}${'}'.repeat(2_000)}`,
  '&a *a',
  '',
  '---\n---\n',
  'contract: *nowhere',
);

export const contract = targetAlone(
  'contract',
  fc.oneof(
    { weight: 5, arbitrary: changedTree },
    { weight: 4, arbitrary: slipped },
    { weight: 1, arbitrary: bombs },
    { weight: 1, arbitrary: fc.string({ maxLength: 200 }) },
  ),
  (text) => {
    const loaded = load(text);
    if (loaded !== undefined) use(loaded);
  },
);

function load(text: string): Contract | undefined {
  try {
    return loadContract(text, 'fuzz.yaml');
  } catch (error) {
    if (error instanceof ContractError) return undefined;
    throw error;
  }
}

const bodies = [
  '{"event_id":"e","room":"r","user":"","kind":"a","message":{"id":"m","rest":[1],"tags":[]},"ids":["1"]}',
  '{"event_id":"e","room":"r","user":"u","ids":["1","1"]}',
  '{}',
];

/** "A contract that loads cannot fail later on a name": what remains are the calls' own bodies. */
function use({ calls, foreign, hubs }: Contract): void {
  for (const call of calls) for (const body of bodies) unlessRefused(() => call.toEvent(call.read(body)));
  for (const type of ['said', 'told', '__proto__']) unlessRefused(() => foreign(type)?.toEvent('r', '{"user":"u"}'));
  const sub: Values = new Map([['sub', '"u"']]);
  for (const { connect, methods } of hubs) {
    for (const effect of connect) take(effect, sub);
    for (const method of methods) {
      for (const args of [[], ['"r"'], ['null'], ['"r"', '{"a":1}'], ['1']]) {
        const values = method.bind(args);
        if (values === undefined || method.ignores(values)) continue;
        for (const effect of method.effects) take(effect, new Map([...values, ...sub]));
      }
    }
  }
}

function take(effect: Effect, values: Values): void {
  if (effect.kind === 'caller') effect.arguments(values);
  else if (effect.kind === 'others') effect.toEvent(values, 'c');
  else effect.group(values);
}

function unlessRefused(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof BodyFault)) throw error;
  }
}
