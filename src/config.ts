// The configuration enters here, once: flags and environment in, one frozen Config out, or every fault with one line.
// `settings` is the only declaration of a flag: the command line, the help and the table of docs/settings.md are made from it.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { nearestName } from './did-you-mean.ts';
import { CrossfadeError } from './errors.ts';
import { parseRedisUrl } from './redis-url.ts';

export interface HostPort {
  host: string;
  port: number;
}

export interface Config {
  /** undefined: an edge alone, which takes no calls. */
  readonly listen: HostPort | undefined;
  /** undefined: an ingress alone, which takes no clients. */
  readonly edge: HostPort | undefined;
  readonly admin: HostPort;
  /** undefined: there is no port for probes. */
  readonly health: HostPort | undefined;
  /** Clients closed per second when the replica ends; undefined: so many that all are within 60 s. */
  readonly drainRate?: number;
  /** Base URLs of the bridge's instances; empty: standalone. */
  readonly bridges: readonly string[];
  /** With several bridges: whether a call goes to one of them (they share a backplane) or to all. */
  readonly bridgeCalls: 'one' | 'all';
  /** Whether calls that no bridge can be reached for go by the log. */
  readonly bridgeFallback: boolean;
  readonly hubs: 'proxy' | 'native';
  /** Absent: the embedded log in `dataDir`. */
  readonly redis?: string;
  readonly dataDir: string;
  /** 0-100; what a replica asks for when it starts, until an operator has set something else. */
  readonly percent: number;
  /** EVENT_TRANSPORT_USE_REDIS_STREAMS=false: while one live replica has it, all behave as percent 0. */
  readonly killSwitch: boolean;
  readonly mirror: boolean;
  readonly requireCompare: boolean;
  readonly fallback: boolean;
  readonly publishTimeout: number;
  /** ms */
  readonly handoverTimeout: number;
  readonly consumerGroup: string;
  readonly instance: string;
  /** ms */
  readonly coalesceWindow: number;
  readonly coalesce: boolean;
  /** bytes */
  readonly maxBody: number;
  /** Path of a contract file; absent: the built-in one. */
  readonly contract?: string;
  /** Entries that each stream keeps; absent: as many as the contract says. */
  readonly streamMaxLength?: number;
  readonly allowedOrigins: readonly string[];
  readonly insecure: boolean;
  readonly logLevel: string;
  readonly apiKey?: string;
  readonly jwtSecret?: string;
  readonly jwksUrl?: string;
  readonly adminToken?: string;
}

type Key = Exclude<keyof Config, 'killSwitch'> | 'killSwitchOff';

/** A text, read as if it had been given; or, where none can say it, the words that stand in the tables for a value, or for none. */
type Default = string | { words: string; value?(standalone: boolean): unknown };

export interface Setting {
  key: Key;
  /** As commander takes it, such as `--percent <0-100>`; absent for what only a variable can set. */
  flag?: string;
  /** The flag may be given several times; the variable holds a list with commas. */
  repeatable?: boolean;
  variables: string[];
  /** Whether it may hold a password: then it may also stand in a file that `<variable>_FILE` names. */
  hasPassword?: boolean;
  /** What holds when nothing is set. */
  default: Default;
  meaning: string;
  /** @throws Error whose message says what a right value looks like */
  parse(text: string): unknown;
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

export const settings: Setting[] = [
  {
    key: 'listen',
    flag: '--listen <host:port>',
    variables: ['CROSSFADE_LISTEN'],
    default: '127.0.0.1:7400',
    meaning: "backend side: the bridge's HTTP API; `off`: an edge alone",
    parse: hostPortOrOff,
  },
  {
    key: 'edge',
    flag: '--edge <host:port>',
    variables: ['CROSSFADE_EDGE'],
    default: '127.0.0.1:7401',
    meaning: 'client side: `/hubs/*` only; `off`: an ingress alone',
    parse: hostPortOrOff,
  },
  {
    key: 'admin',
    flag: '--admin <host:port>',
    variables: ['CROSSFADE_ADMIN'],
    default: '127.0.0.1:7402',
    meaning: 'metrics, health and the cutover; beyond loopback only with a token',
    parse: hostPort,
  },
  {
    key: 'health',
    flag: '--health <host:port>',
    variables: ['CROSSFADE_HEALTH'],
    default: 'off',
    meaning: '`/startupz`, `/livez` and `/readyz` for probes from the node: no token, no detail',
    parse: hostPortOrOff,
  },
  {
    key: 'drainRate',
    flag: '--drain-rate <n>',
    variables: ['CROSSFADE_DRAIN_RATE'],
    default: { words: 'all within 60 s' },
    meaning: 'clients closed per second when the replica ends, so that they do not come back all at once',
    parse: integer(1, 100_000),
  },
  {
    key: 'bridges',
    flag: '--bridge <url>',
    repeatable: true,
    variables: ['CROSSFADE_BRIDGE'],
    default: { words: 'none', value: () => [] },
    meaning:
      'the legacy bridge, repeatable (the variable: separated by commas); a name with several addresses counts as several; none: standalone, everything by stream, hubs native',
    parse: httpUrls,
  },
  {
    key: 'bridgeCalls',
    flag: '--bridge-calls <one|all>',
    variables: ['CROSSFADE_BRIDGE_CALLS'],
    default: 'one',
    meaning: 'with several bridges: one (they share a backplane) or all (they do not: each reaches its own clients)',
    parse: oneOf('one', 'all'),
  },
  {
    key: 'bridgeFallback',
    flag: '--bridge-fallback',
    variables: ['CROSSFADE_BRIDGE_FALLBACK'],
    default: 'off',
    meaning: 'send bridge-lane calls by stream while no bridge can be reached, instead of a 502',
    parse: boolean,
  },
  {
    key: 'hubs',
    flag: '--hubs <proxy|native>',
    variables: ['CROSSFADE_HUBS'],
    default: { words: 'proxy with a bridge, else native', value: (standalone) => (standalone ? 'native' : 'proxy') },
    meaning: 'where hub connections end: at the bridge, behind crossfade, or at crossfade',
    parse: oneOf('proxy', 'native'),
  },
  {
    key: 'redis',
    flag: '--redis <url>',
    variables: ['REDIS_URL'],
    hasPassword: true,
    default: { words: 'none' },
    meaning: '`redis://` or `rediss://`, also in a file that `REDIS_URL_FILE` names; none: the embedded log',
    parse: redisUrl,
  },
  {
    key: 'dataDir',
    flag: '--data-dir <dir>',
    variables: ['CROSSFADE_DATA_DIR'],
    default: './crossfade-data',
    meaning: 'where the embedded log lives',
    parse: nonEmpty,
  },
  {
    key: 'percent',
    flag: '--percent <0-100>',
    variables: ['EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE', 'EVENT_TRANSPORT_REDIS_PERCENTAGE'],
    default: { words: '0 (100 without a bridge)', value: (standalone) => (standalone ? 100 : 0) },
    meaning: 'share of rooms on the stream lane, until an operator sets another',
    parse: integer(0, 100),
  },
  {
    key: 'mirror',
    flag: '--mirror',
    variables: ['EVENT_TRANSPORT_DUAL_WRITE'],
    default: 'off',
    meaning: 'also write bridge-lane events to shadow streams',
    parse: boolean,
  },
  {
    key: 'requireCompare',
    flag: '--require-compare',
    variables: ['CROSSFADE_REQUIRE_COMPARE'],
    default: 'off',
    meaning: 'the guard raises rooms only by a compare that says `SAME` and is not a day old',
    parse: boolean,
  },
  {
    key: 'fallback',
    flag: '--no-fallback',
    variables: ['EVENT_TRANSPORT_FALLBACK_TO_HTTP'],
    default: { words: 'fallback on', value: () => true },
    meaning: 'refuse a call (503) when the log cannot take it in time, instead of sending it to the bridge',
    parse: boolean,
  },
  {
    key: 'publishTimeout',
    flag: '--publish-timeout <ms>',
    variables: ['EVENT_TRANSPORT_PUBLISH_TIMEOUT_MS'],
    default: '100',
    meaning: 'how long the log may take for one event',
    parse: integer(1, 60_000),
  },
  {
    key: 'handoverTimeout',
    flag: '--handover-timeout <ms>',
    variables: ['CROSSFADE_HANDOVER_TIMEOUT_MS'],
    default: '200',
    meaning: 'how long a room may wait while it changes lane',
    parse: integer(1, 10_000),
  },
  {
    key: 'consumerGroup',
    flag: '--consumer-group <name>',
    variables: ['EVENT_TRANSPORT_CONSUMER_GROUP'],
    default: 'signalr-consumers',
    meaning: "prefix of the replicas' consumer groups",
    parse: nonEmpty,
  },
  {
    key: 'instance',
    flag: '--instance <id>',
    variables: ['CROSSFADE_INSTANCE', 'HOSTNAME'],
    default: { words: 'hostname', value: () => hostname() },
    meaning: "this replica's name; two live replicas never share one",
    parse: nonEmpty,
  },
  {
    key: 'coalesceWindow',
    flag: '--coalesce-window <ms>',
    variables: ['EVENT_COALESCING_WINDOW_MS'],
    default: '100',
    meaning: 'how long typing and read receipts are gathered',
    parse: integer(1, 60_000),
  },
  {
    key: 'coalesce',
    flag: '--no-coalesce',
    variables: ['EVENT_COALESCING_ENABLED'],
    default: { words: 'coalescing on', value: () => true },
    meaning: 'send every typing event and read receipt by itself',
    parse: boolean,
  },
  {
    key: 'maxBody',
    flag: '--max-body <bytes>',
    variables: ['CROSSFADE_MAX_BODY'],
    default: '30000000',
    meaning: 'larger calls are 413, as on the bridge',
    parse: integer(1, 1_000_000_000),
  },
  {
    key: 'contract',
    flag: '--contract <file>',
    variables: ['CROSSFADE_CONTRACT'],
    default: { words: 'support-center' },
    meaning: 'the contract: which calls and hubs there are',
    parse: nonEmpty,
  },
  {
    key: 'allowedOrigins',
    flag: '--allowed-origins <list>',
    variables: ['CROSSFADE_ALLOWED_ORIGINS'],
    default: { words: 'none', value: () => [] },
    meaning: 'native hubs: CORS with credentials for these origins, exactly; separated by commas',
    parse: origins,
  },
  {
    key: 'insecure',
    flag: '--insecure',
    variables: ['CROSSFADE_INSECURE'],
    default: 'off',
    meaning: 'start without an API key, a JWT secret or an admin token (development only)',
    parse: boolean,
  },
  {
    key: 'killSwitchOff',
    variables: ['EVENT_TRANSPORT_USE_REDIS_STREAMS'],
    default: 'true',
    meaning: 'false: the kill switch, everything by the bridge lane on all replicas; reading goes on',
    parse: boolean,
  },
  {
    key: 'streamMaxLength',
    variables: ['EVENT_TRANSPORT_STREAM_MAX_LEN'],
    default: { words: "the contract's" },
    meaning: 'how many entries each stream keeps',
    parse: integer(1, 100_000_000),
  },
  {
    key: 'logLevel',
    variables: ['LOG_LEVEL'],
    default: 'info',
    meaning: `what is logged, as JSON lines on stdout: ${levels.join(', ')}; at debug every event can be followed`,
    parse: logLevel,
  },
];

/** Secrets come by variable or by a file named in `<variable>_FILE`, never by flag. */
export const secrets: Pick<Setting, 'key' | 'variables' | 'meaning' | 'parse'>[] = [
  {
    key: 'apiKey',
    variables: ['INTERNAL_API_KEY', 'SIGNALR_INTERNAL_API_KEY'],
    meaning: 'what the backend sends as X-Internal-Api-Key',
    parse: nonEmpty,
  },
  {
    key: 'jwtSecret',
    variables: ['JWT_SECRET_KEY'],
    meaning: "native hubs: HS256 secret of the clients' tokens",
    parse: nonEmpty,
  },
  {
    key: 'jwksUrl',
    variables: ['CROSSFADE_JWKS_URL'],
    meaning: "native hubs: public keys of the clients' tokens (RS256, ES256, …)",
    parse: keysUrl,
  },
  {
    key: 'adminToken',
    variables: ['CROSSFADE_ADMIN_TOKEN'],
    meaning:
      'bearer token of the admin port; replicas sign what they tell each other with it (never sending it), or with the API key where there is none',
    parse: nonEmpty,
  },
];

/** CONFIG_INVALID with one line a fault. */
export class ConfigError extends CrossfadeError {
  constructor(faults: string[]) {
    super('CONFIG_INVALID', faults.join('\n'));
  }
}

/** Raw values by key: `true`/`false` for switches, lists for what may be given several times. */
export type GivenFlags = Partial<Record<string, string | boolean | string[]>>;

/**
 * @param flags those that stand on the command line
 * @param env the process's environment; empty variables count as not set
 * @throws ConfigError with every fault
 */
export function readConfig(flags: GivenFlags, env: NodeJS.ProcessEnv): Config {
  const faults: string[] = [];
  const values: Partial<Record<Key, unknown>> = {};
  for (const setting of settings) {
    try {
      const given = givenValue(setting, flags, env) ?? valueInFile(setting, env);
      if (given !== undefined) values[setting.key] = setting.parse(given);
    } catch (error) {
      faults.push(`${namesOf(setting)}: ${(error as Error).message}`);
    }
  }
  for (const secret of secrets) {
    const found = findSecret(secret.variables, env);
    if (found === undefined) continue;
    try {
      values[secret.key] = secret.parse(found.read());
    } catch (error) {
      faults.push(`${found.name}: ${(error as Error).message}`);
    }
  }
  faults.push(...unknownVariables(env));
  if (faults.length > 0) throw new ConfigError(faults);
  const config = withDefaults(values);
  faults.push(...contradictions(config, values));
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

function givenValue(setting: Setting, flags: GivenFlags, env: NodeJS.ProcessEnv): string | undefined {
  const flag = flags[setting.key];
  if (flag !== undefined) return String(flag);
  return setting.variables.map((name) => env[name]).find((value) => value !== undefined && value !== '');
}

/** @throws Error */
function valueInFile({ variables, hasPassword = false }: Setting, env: NodeJS.ProcessEnv): string | undefined {
  const file = hasPassword ? env[`${variables[0]}_FILE`] : undefined;
  return file ? readSecretFile(file) : undefined;
}

/** A misspelt name would be passed over in silence, and what it was to change with it. */
function unknownVariables(env: NodeJS.ProcessEnv): string[] {
  const known = settings.flatMap(({ variables }) => variables);
  for (const { variables } of secrets) known.push(...variables, ...variables.map((name) => `${name}_FILE`));
  // `CROSSFADE_PERCENT`: named after a flag whose variable has another name.
  const byFlag = settings.map(({ flag, variables }): [string, string] => [variableLike(flag ?? ''), variables[0]!]);
  const meant = new Map([...byFlag, ...known.map((name): [string, string] => [name, name])]);
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith('CROSSFADE_') && env[name] !== '' && !known.includes(name) && !serviceLink.test(name),
  );
  return unknown.map((name) => {
    const nearest = nearestName(name, [...meant.keys()]);
    return `${name}: is no variable of crossfade${nearest === undefined ? '' : `; did you mean ${meant.get(nearest)}?`}`;
  });
}

/** What Kubernetes sets in every pod for a Service whose name begins with `crossfade`. */
const serviceLink = /_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$/;

/** `--no-fallback` -> CROSSFADE_NO_FALLBACK */
function variableLike(flag: string): string {
  return `CROSSFADE_${flag.split(' ')[0]!.replace(/^--/, '').replaceAll('-', '_').toUpperCase()}`;
}

/** Where one listens for all, and by which address this machine reaches it. */
const anyHosts = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** For a command beside `serve`: the URL of its admin port, as the environment of both has it. Error: CONFIG_INVALID. */
export function ownAdminUrl(env: NodeJS.ProcessEnv): string {
  const setting = settings.find(({ key }) => key === 'admin')!;
  try {
    const { host, port } = hostPort(givenValue(setting, {}, env) ?? defaultText(setting));
    const reached = anyHosts.get(host) ?? host;
    return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`;
  } catch (error) {
    throw new ConfigError([`${namesOf(setting)}: ${(error as Error).message}`]);
  }
}

/** A secret of a command other than serve. Error: CONFIG_INVALID where its file cannot be read. */
export function readSecret(variable: string, env: NodeJS.ProcessEnv): string | undefined {
  const found = findSecret([variable], env);
  try {
    return found?.read();
  } catch (error) {
    throw new ConfigError([`${found!.name}: ${(error as Error).message}`]);
  }
}

/** @returns the variable that says it, and how to read it */
function findSecret(variables: string[], env: NodeJS.ProcessEnv): { name: string; read(): string } | undefined {
  for (const variable of variables) {
    const text = env[variable];
    if (text) return { name: variable, read: () => text };
    const file = env[`${variable}_FILE`];
    if (file) return { name: `${variable}_FILE`, read: () => readSecretFile(file) };
  }
  return undefined;
}

/** @throws Error */
function readSecretFile(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    throw new Error(`cannot read '${file}' (${(error as NodeJS.ErrnoException).code})`);
  }
}

function withDefaults(given: Partial<Record<Key, unknown>>): Config {
  const standalone = ((given.bridges as string[] | undefined) ?? []).length === 0;
  const defaults = settings.flatMap(({ key, default: unlessSet, parse }) => {
    if (typeof unlessSet === 'string') return [[key, parse(unlessSet)]];
    return unlessSet.value === undefined ? [] : [[key, unlessSet.value(standalone)]];
  });
  const { killSwitchOff, ...config } = { ...Object.fromEntries(defaults), ...given };
  return { ...config, killSwitch: killSwitchOff === false };
}

/** As the tables have it. */
export function defaultText({ default: unlessSet }: Setting): string {
  return typeof unlessSet === 'string' ? unlessSet : unlessSet.words;
}

function contradictions(config: Config, values: Partial<Record<Key, unknown>>): string[] {
  const faults: string[] = [];
  const standalone = config.bridges.length === 0;
  if (standalone && values.killSwitchOff === false) {
    faults.push('EVENT_TRANSPORT_USE_REDIS_STREAMS: false needs --bridge: without one there is no other lane');
  } else if (standalone && config.percent < 100) {
    faults.push(
      `--percent (${variablesOf('percent')}): ${config.percent} needs --bridge: without one all rooms go by stream`,
    );
  }
  if (standalone && config.mirror) {
    faults.push('--mirror (EVENT_TRANSPORT_DUAL_WRITE): needs --bridge: without one there is nothing to mirror');
  }
  if (standalone && config.hubs === 'proxy') {
    faults.push('--hubs (CROSSFADE_HUBS): proxy needs --bridge: without one there is nothing behind crossfade');
  }
  if (!standalone && config.hubs === 'native' && config.percent < 100) {
    faults.push(
      `--hubs (CROSSFADE_HUBS): native with a bridge needs --percent 100 (${variablesOf('percent')}): native clients get nothing of the bridge lane`,
    );
  }
  faults.push(...oddShape(config));
  if (config.insecure) return faults;
  if (config.apiKey === undefined) {
    const why =
      config.listen === undefined ? 'bridges and replicas could not be asked with it' : 'anyone could broadcast';
    faults.push(`INTERNAL_API_KEY: is not set, so ${why}; set it, or say --insecure`);
  }
  faults.push(...unknownClients(config));
  if (config.adminToken === undefined && !isLoopback(config.admin.host)) {
    faults.push(
      `--admin (CROSSFADE_ADMIN): ${config.admin.host} is beyond loopback and needs CROSSFADE_ADMIN_TOKEN, or say --insecure`,
    );
  }
  return faults;
}

function unknownClients({ edge, hubs, jwtSecret, jwksUrl, insecure }: Config): string[] {
  if (insecure || edge === undefined || hubs !== 'native' || jwtSecret !== undefined || jwksUrl !== undefined)
    return [];
  return [
    'JWT_SECRET_KEY or CROSSFADE_JWKS_URL: neither is set, so no client could be known; set one, or say --insecure',
  ];
}

/**
 * As it holds once the bridge was left for good, whatever is still given for one. Error: CONFIG_INVALID (native hubs could know no client).
 */
export function withoutBridge(config: Config): Config {
  const left: Config = { ...config, bridges: [], hubs: 'native', percent: 100, mirror: false, killSwitch: false };
  const faults = unknownClients(left);
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(left);
}

/** One side alone needs the other one somewhere else, and a log that both have. */
function oddShape({ listen, edge, redis }: Config): string[] {
  if (listen === undefined && edge === undefined) return [`${nameOf('listen')}, ${nameOf('edge')}: both are off`];
  if ((listen !== undefined && edge !== undefined) || redis !== undefined) return [];
  const off = nameOf(listen === undefined ? 'listen' : 'edge');
  return [`${off}: off needs ${nameOf('redis')}: no other replica has the embedded log`];
}

/** Whether a host or a remote address can only be reached from this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^(::ffff:)?127(\.\d{1,3}){3}$/.test(host);
}

/** As a line about a fault names it: `--listen (CROSSFADE_LISTEN)`. */
export function nameOf(key: Key): string {
  return namesOf(settings.find((setting) => setting.key === key)!);
}

function namesOf(setting: Setting): string {
  const variables = setting.variables.join(', ');
  return setting.flag === undefined ? variables : `${setting.flag.split(' ')[0]} (${variables})`;
}

function variablesOf(key: Key): string {
  return settings.find((setting) => setting.key === key)!.variables.join(', ');
}

/** @throws Error whose message says what a right one looks like */
export function hostPort(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Error(`'${text}' is not host:port, such as 127.0.0.1:7400`);
  return { host: (match[1] ?? match[2])!, port };
}

function hostPortOrOff(text: string): HostPort | undefined {
  return text === 'off' ? undefined : hostPort(text);
}

function httpUrls(text: string): string[] {
  return text.split(',').map((each) => httpUrl(each.trim()));
}

function httpUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new Error(`'${text}' is not an http:// or https:// address`);
  }
  return text.replace(/\/+$/, '');
}

/** Stands among the secrets, so the value is never shown. */
function keysUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? '')) throw new Error('is not an http:// or https:// address');
  return text;
}

function redisUrl(text: string): string {
  parseRedisUrl(text);
  return text;
}

/** `WARNING` is Python's word, in a pod that shares its variables with such a backend. */
function logLevel(text: string): string {
  const level = text.toLowerCase().replace(/^warning$/, 'warn');
  if (!levels.includes(level)) throw new Error(`'${text}' is not one of: ${levels.join(', ')}`);
  return level;
}

function origins(text: string): string[] {
  const list = text.split(',').map((origin) => origin.trim());
  for (const origin of list) {
    if (URL.parse(origin)?.origin !== origin)
      throw new Error(`'${origin}' is not an origin, such as https://app.example`);
  }
  return list;
}

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new Error(`'${text}' is not a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

function boolean(text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off)$/i.test(text)) return false;
  throw new Error(`'${text}' is neither true nor false`);
}

function oneOf(...allowed: string[]): (text: string) => string {
  return (text) => {
    if (!allowed.includes(text)) throw new Error(`'${text}' is not one of: ${allowed.join(', ')}`);
    return text;
  };
}

function nonEmpty(text: string): string {
  if (text.trim() === '') throw new Error('is empty');
  return text;
}
