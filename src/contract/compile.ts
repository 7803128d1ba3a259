// Compiles the parts of a contract document into the lookups of contract.ts: in go parsed YAML parts, out come calls,
// foreign entries and hubs. Every name is checked here; faults are collected, so that all are reported at once.

import type { YamlPath } from '../checked-yaml.ts';
import { compileBody, type Field, type Shape } from './body.ts';
import type {
  Call,
  Effect,
  Foreign,
  Hub,
  HubMethod,
  JoinEffect,
  OthersEffect,
  StreamSpec,
  Values,
} from './contract.ts';
import { type Coalescing, type Delivery, type Event, maxUnitedChars } from './event.ts';
import { isListOfStrings, RawNode } from './json.ts';
import type {
  CallDocument,
  CoalesceDocument,
  DeliveriesDocument,
  EffectDocument,
  EventTypeDocument,
  ForeignDocument,
  HubDocument,
  MethodDocument,
  OthersDocument,
} from './schema.ts';
import { type ArgumentTemplate, compileArgument, compileText, namesIn, textOf } from './template.ts';

export class CompileFaults {
  readonly list: { path: YamlPath; message: string }[] = [];

  add(path: YamlPath, message: string): void {
    this.list.push({ path, message });
  }
}

/** What the parts of a contract may refer to. */
interface Scope {
  types: Map<string, Shape>;
  streams: Map<string, StreamSpec>;
  hubNames: Set<string>;
  faults: CompileFaults;
}

const scalarTypes = new Set(['string', 'int', 'bool', 'any', 'string[]']);
const declaration = /^([\w[\]]+)(\?)?(?:\s*=\s*(.*))?$/;

/** Types may use types that stand before or behind them; a cycle is a fault. */
export function compileTypes(
  document: Record<string, Record<string, string>>,
  faults: CompileFaults,
): Map<string, Shape> {
  const types = new Map<string, Shape>();
  const open: string[] = [];
  const compile = (name: string): Shape | undefined => {
    const members = Object.hasOwn(document, name) ? document[name] : undefined;
    if (types.has(name) || members === undefined) return types.get(name);
    if (open.includes(name)) {
      faults.add(['types', name], `the type holds itself (${[...open, name].join(' > ')})`);
      return undefined;
    }
    open.push(name);
    const shape = compileShape(members, ['types', name], compile, faults);
    open.pop();
    types.set(name, shape);
    return shape;
  };
  for (const name of Object.keys(document)) compile(name);
  return types;
}

function compileShape(
  members: Record<string, string>,
  path: YamlPath,
  typeNamed: (name: string) => Shape | undefined,
  faults: CompileFaults,
): Shape {
  const shape: Shape = new Map();
  for (const [name, text] of Object.entries(members)) {
    const field = compileField(name, text, typeNamed);
    if (typeof field === 'string') faults.add([...path, name], field);
    else shape.set(name.toLowerCase(), field);
  }
  return shape;
}

/** @returns the field, or what is wrong with its declaration */
function compileField(name: string, text: string, typeNamed: (name: string) => Shape | undefined): Field | string {
  const [, typeName = '', optional, fallback] = declaration.exec(text.trim()) ?? [];
  const type = scalarTypes.has(typeName) ? (typeName as Field['type']) : typeNamed(typeName);
  if (type === undefined) return `'${text}' is not a type (${[...scalarTypes].join(', ')} or a name under types)`;
  const field: Field = { name, type, optional: optional !== undefined };
  if (fallback === undefined) return field;
  const raw = type === 'string' ? JSON.stringify(fallback) : fallback;
  const fits =
    type === 'string' ||
    (type === 'bool' && /^(true|false)$/.test(fallback)) ||
    (type === 'int' && /^-?\d+$/.test(fallback));
  return fits ? { ...field, fallback: raw } : `'${fallback}' cannot be the default of ${typeName}`;
}

export function compileCall(path: string, document: CallDocument, scope: Scope): Call {
  const at: YamlPath = ['calls', path];
  const shape = compileShape(document.body, [...at, 'body'], (name) => scope.types.get(name), scope.faults);
  if (!shape.has('event_id')) scope.faults.add([...at, 'body'], 'a call needs an event_id');
  const names = valueNames(shape);
  checkName(document.ends_typing_of, [...at, 'ends_typing_of'], names, scope);
  const toEvent = compileEvent(document, at, names, scope, compileDeliveries(document.deliver, at, names, scope));
  return {
    path,
    read: compileBody(shape),
    toEvent(values) {
      const event = toEvent(values);
      const eventId = textOf(values, 'event_id');
      if (eventId !== '') event.eventIds = [eventId];
      if (document.ends_typing_of !== undefined) {
        const user = textOf(values, document.ends_typing_of);
        if (user !== '') event.endsTypingOf = user;
      }
      return event;
    },
  };
}

export function compileForeign(eventType: string, document: ForeignDocument, scope: Scope): Foreign {
  const at: YamlPath = ['foreign', eventType];
  const shape =
    document.payload === 'any'
      ? undefined
      : compileShape(document.payload, [...at, 'payload'], (name) => scope.types.get(name), scope.faults);
  const payloadNames = shape === undefined ? [] : [...valueNames(shape)].map((name) => `payload.${name}`);
  const names = new Set(['room_id', 'payload', ...payloadNames]);
  checkTemplate(document.argument, [...at, 'argument'], names, scope);
  const deliveries = compileDeliveries(document.deliver, at, names, scope);
  const argument = compileArgument(document.argument);
  const read = shape && compileBody(shape);
  return {
    toEvent(room, payload) {
      const values: Values = new Map([
        ['room_id', JSON.stringify(room)],
        ['payload', payload],
      ]);
      if (read !== undefined) for (const [name, raw] of read(payload)) values.set(`payload.${name}`, raw);
      return { payload: argument(values), deliveries: deliveries(values) };
    },
  };
}

export function compileHub(name: string, document: HubDocument, scope: Scope): Hub {
  const at: YamlPath = ['hubs', name];
  const connect = document.connect.map((effect, index) =>
    compileEffect(name, effect, [...at, 'connect', index], new Set(['sub']), scope),
  );
  const methods = Object.entries(document.methods).map(([methodName, method]) =>
    compileMethod(name, methodName, method, scope),
  );
  const methodsByName = new Map(methods.map((method) => [method.name.toLowerCase(), method]));
  return { name, connect, methods, method: (methodName) => methodsByName.get(methodName.toLowerCase()) };
}

function compileMethod(hub: string, name: string, document: MethodDocument, scope: Scope): HubMethod {
  const at: YamlPath = ['hubs', hub, 'methods', name];
  const shape = compileShape(document.args, [...at, 'args'], () => undefined, scope.faults);
  const parameters = [...shape.values()];
  const names = new Set(['sub', ...parameters.map((parameter) => parameter.name)]);
  const ignored = document.ignore_empty ?? [];
  for (const [index, ignoredName] of ignored.entries()) {
    checkName(ignoredName, [...at, 'ignore_empty', index], names, scope);
  }
  const effects = document.effects.map((effect, index) =>
    compileEffect(hub, effect, [...at, 'effects', index], names, scope),
  );
  const naming = [...new Set(document.effects.flatMap(namingTemplates).flatMap(namesIn))].filter(
    (argument) => argument !== 'sub',
  );
  return {
    name,
    effects,
    longestName: (values) => Math.max(0, ...naming.map((argument) => textOf(values, argument).length)),
    ignores: (values) => ignored.some((ignoredName) => isEmpty(values.get(ignoredName))),
    bind(args) {
      if (args.length !== parameters.length) return undefined;
      const values: Values = new Map();
      for (const [index, parameter] of parameters.entries()) {
        if (!accepts(parameter, args[index]!)) return undefined;
        values.set(parameter.name, args[index]!);
      }
      return values;
    },
  };
}

function namingTemplates(effect: EffectDocument): string[] {
  if ('leave' in effect) return [effect.leave];
  if ('others' in effect) return [effect.others, effect.method, effect.room];
  if (!('join' in effect)) return [];
  const farewell = effect.on_disconnect;
  return [effect.join, ...(farewell === undefined ? [] : [farewell.method, farewell.room])];
}

function isEmpty(raw: string | undefined): boolean {
  return raw === undefined || raw === 'null' || raw === '""' || raw === '[]';
}

/** Arguments are bound without conversions: a hub knows no default and no number in a string. */
function accepts(parameter: Field, raw: string): boolean {
  if (parameter.type === 'any') return true;
  if (raw === 'null') return parameter.optional;
  if (parameter.type === 'string') return raw.startsWith('"');
  if (parameter.type === 'bool') return raw === 'true' || raw === 'false';
  return parameter.type === 'string[]' && isListOfStrings(raw);
}

function compileEffect(hub: string, document: EffectDocument, at: YamlPath, names: Set<string>, scope: Scope): Effect {
  if ('join' in document) {
    checkTemplate(document.join, [...at, 'join'], names, scope);
    const effect: JoinEffect = {
      kind: 'join',
      group: compileText(document.join),
      countsAsRoom: document.counts_as_room ?? false,
    };
    if (document.on_disconnect !== undefined) {
      effect.farewell = compileOthers(
        hub,
        document.join,
        document.on_disconnect,
        [...at, 'on_disconnect'],
        names,
        scope,
      );
    }
    return effect;
  }
  if ('leave' in document) {
    checkTemplate(document.leave, [...at, 'leave'], names, scope);
    return { kind: 'leave', group: compileText(document.leave) };
  }
  if ('caller' in document) {
    if (document.argument === undefined) return { kind: 'caller', method: document.caller, arguments: () => [] };
    checkTemplate(document.argument, [...at, 'argument'], names, scope);
    const argument = compileArgument(document.argument);
    return { kind: 'caller', method: document.caller, arguments: (values) => [argument(values)] };
  }
  return compileOthers(hub, document.others, document, at, names, scope);
}

function compileOthers(
  hub: string,
  groupTemplate: string,
  document: OthersDocument,
  at: YamlPath,
  names: Set<string>,
  scope: Scope,
): OthersEffect {
  checkTemplate(groupTemplate, at, names, scope);
  checkTemplate(document.method, [...at, 'method'], names, scope);
  const group = compileText(groupTemplate);
  const method = compileText(document.method);
  const toEvent = compileEvent(document, at, names, scope, (values) => [
    { hub, group: group(values), method: method(values) },
  ]);
  return {
    kind: 'others',
    isTyping: document.coalesce !== undefined && document.coalesce.union === undefined,
    toEvent(values, connectionId) {
      const event = toEvent(values);
      for (const delivery of event.deliveries) delivery.except = connectionId;
      return event;
    },
  };
}

interface EventDocument {
  event: EventTypeDocument;
  stream: string;
  room: string;
  argument: ArgumentTemplate;
  coalesce?: CoalesceDocument | undefined;
}

/** What calls and hub methods share: values to an event, without ids. */
function compileEvent(
  document: EventDocument,
  at: YamlPath,
  names: Set<string>,
  scope: Scope,
  deliveries: (values: Values) => Delivery[],
): (values: Values) => Event {
  const stream = scope.streams.get(document.stream);
  if (stream === undefined) scope.faults.add([...at, 'stream'], `'${document.stream}' is not under streams`);
  checkTemplate(document.room, [...at, 'room'], names, scope);
  checkTemplate(document.argument, [...at, 'argument'], names, scope);
  checkName(document.coalesce?.user, [...at, 'coalesce', 'user'], names, scope);
  checkName(document.coalesce?.union, [...at, 'coalesce', 'union'], names, scope);
  const eventType = compileEventType(document.event, at, names, scope);
  const room = compileText(document.room);
  const argument = compileArgument(document.argument);
  const build = (values: Values): Event => {
    const event: Event = {
      eventIds: [],
      eventType: eventType(values),
      stream: document.stream,
      maxLength: stream!.maxLength,
      room: room(values),
      payload: argument(values),
      deliveries: deliveries(values),
    };
    const coalescing = document.coalesce && compileCoalescing(document.coalesce, values, event, argument);
    if (coalescing !== undefined) event.coalescing = coalescing;
    return event;
  };
  return build;
}

function compileEventType(
  document: EventTypeDocument,
  at: YamlPath,
  names: Set<string>,
  scope: Scope,
): (values: Values) => string {
  if (typeof document === 'string') return () => document;
  checkName(document.by, [...at, 'event', 'by'], names, scope);
  const cases = new Map(Object.entries(document.cases));
  return (values) => cases.get(textOf(values, document.by)) ?? document.else;
}

/** @returns undefined where the event goes by itself: nobody is to get it, or its list is too long for a window */
function compileCoalescing(
  document: CoalesceDocument,
  values: Values,
  event: Event,
  argument: (values: Values) => string,
): Coalescing | undefined {
  const [first] = event.deliveries;
  if (first === undefined) return undefined;
  const user = textOf(values, document.user);
  const key = `${first.method} ${user}`;
  const list = document.union;
  if (list === undefined) return { key, typingOf: user };
  const raw = values.get(list)!;
  if (raw.length > maxUnitedChars) return undefined;
  const payloadOf = (items: Iterable<string>) => argument(new Map(values).set(list, `[${[...items].join(',')}]`));
  return { key, union: { items: new RawNode(raw).items?.map((item) => item.raw) ?? [], payloadOf } };
}

function compileDeliveries(
  document: DeliveriesDocument,
  at: YamlPath,
  names: Set<string>,
  scope: Scope,
): (values: Values) => Delivery[] {
  const compiled = document.map((delivery, index) => {
    const place: YamlPath = [...at, 'deliver', index];
    if (!scope.hubNames.has(delivery.hub)) scope.faults.add([...place, 'hub'], `'${delivery.hub}' is not under hubs`);
    checkTemplate(delivery.group, [...place, 'group'], names, scope);
    checkName(delivery.unless_empty, [...place, 'unless_empty'], names, scope);
    return { ...delivery, group: compileText(delivery.group) };
  });
  return (values) =>
    compiled
      .filter(({ unless_empty: name }) => name === undefined || !isEmpty(values.get(name)))
      .map(({ hub, group, method }) => ({ hub, group: group(values), method }));
}

/** All names under which a body of this shape gives values. */
function valueNames(shape: Shape, prefix = ''): Set<string> {
  const names = new Set<string>();
  for (const field of shape.values()) {
    names.add(prefix + field.name);
    if (field.type instanceof Map) {
      for (const name of valueNames(field.type, `${prefix}${field.name}.`)) names.add(name);
    }
  }
  return names;
}

function checkTemplate(template: ArgumentTemplate, path: YamlPath, names: Set<string>, scope: Scope): void {
  for (const name of namesIn(template)) checkName(name, path, names, scope);
}

function checkName(name: string | undefined, path: YamlPath, names: Set<string>, scope: Scope): void {
  if (name !== undefined && !names.has(name)) {
    scope.faults.add(path, `'${name}' is not a value here (known: ${[...names].join(', ')})`);
  }
}
