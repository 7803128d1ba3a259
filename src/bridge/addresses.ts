// Where the bridge is: in come the URLs of `--bridge`, out go the addresses behind them, each with what a request there
// needs. Promises: a name that resolves to several IPs counts as several bridges, looked up again now and then; they
// take turns, one that has just refused a connection is left out while another is there, and it is known whether any is.

import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type HostPort, isLoopback } from '../config.ts';
import { shortTag } from '../short-key.ts';
import { type Clock, pause } from '../telemetry/clock.ts';

/** One bridge instance. The object stays the same for as long as its name resolves to it. */
export interface BridgeAddress {
  /** Names it on every replica that was given the same URL: the URL, and the IP where its name has been resolved. */
  readonly key: string;
  /** Where to connect: scheme, IP (or name) and port, such as `http://10.0.0.7:5000`. */
  readonly origin: string;
  /** Stands in front of every path, without a slash at its end; mostly empty. */
  readonly basePath: string;
  /** The Host header: the host of the URL, whatever it resolves to. */
  readonly host: string;
  /** The name that its certificate has to bear; undefined without TLS, and where the URL has no name. */
  readonly servername: string | undefined;
}

/** How `ws` dials a WebSocket there: the URL without the path, and of the options those that name the bridge. */
export function webSocketAt({ origin, host, servername }: BridgeAddress): WebSocketPlace {
  const options = { headers: { Host: host }, ...(servername !== undefined && { servername }) };
  return { url: origin.replace(/^http/, 'ws'), options };
}

export interface WebSocketPlace {
  url: string;
  options: { headers: { Host: string }; servername?: string };
}

export interface BridgeAddressesOptions {
  clock: Clock;
  /** @returns the IPs of a name; rejects if there are none */
  resolve?: (name: string) => Promise<string[]>;
  /** @returns whether a connection to the address comes about */
  connects?: (address: BridgeAddress) => Promise<boolean>;
}

/** ms between two lookups of a name: as long as pods usually take to come or go. */
const refreshMs = 30_000;
/** ms for which an address that refused a connection is left out. */
const avoidMs = 5_000;
/** ms between two looks whether an address that refused a connection takes one again. */
const lookMs = 1_000;

export class BridgeAddresses {
  readonly #urls: URL[];
  readonly #clock: Clock;
  readonly #resolve: (name: string) => Promise<string[]>;
  readonly #connects: (address: BridgeAddress) => Promise<boolean>;
  /** By URL, in the order of the flags. */
  readonly #found = new Map<URL, BridgeAddress[]>();
  readonly #refusedUntil = new Map<string, number>();
  /** Those that have refused a connection and taken none since, each with what ends the looks at it. */
  readonly #away = new Map<string, () => void>();
  readonly #stopRefreshing: () => void;
  #turn = 0;
  #refreshedAt = 0;
  /** A lookup that somebody waits for. */
  #refreshing: Promise<void> | undefined;

  /** Resolves when every name was looked up once; one that cannot be resolved (yet) stands for itself until it can. */
  static async open(urls: string[], options: BridgeAddressesOptions): Promise<BridgeAddresses> {
    const addresses = new BridgeAddresses(urls, options);
    await addresses.refresh();
    return addresses;
  }

  private constructor(
    urls: string[],
    { clock, resolve = allAddresses, connects = tcpConnects }: BridgeAddressesOptions,
  ) {
    this.#urls = urls.map((url) => new URL(url));
    this.#clock = clock;
    this.#resolve = resolve;
    this.#connects = connects;
    for (const url of this.#urls) this.#found.set(url, [addressAt(url)]);
    this.#stopRefreshing = clock.every(refreshMs, () => this.refresh());
  }

  get all(): readonly BridgeAddress[] {
    return [...this.#found.values()].flat();
  }

  /** Whose turn it is. */
  next(): BridgeAddress {
    const { all } = this;
    const now = this.#clock.monotonic();
    const willing = all.filter(({ key }) => (this.#refusedUntil.get(key) ?? now) <= now);
    const candidates = willing.length > 0 ? willing : all;
    return candidates[this.#turn++ % candidates.length]!;
  }

  /** Says that the address did not take a connection. */
  refused(address: BridgeAddress): void {
    this.#refusedUntil.set(address.key, this.#clock.monotonic() + avoidMs);
    if (this.#away.has(address.key)) return;
    // Nobody else may ask: calls go by stream, and clients where somebody is ready for them.
    const look = async () => {
      if (await this.#connects(address)) this.answered(address);
    };
    this.#away.set(address.key, this.#clock.every(lookMs, look));
  }

  /** Says that the address has answered. */
  answered({ key }: BridgeAddress): void {
    this.#away.get(key)?.();
    this.#away.delete(key);
  }

  /** Whether any of them takes connections, as far as is known. */
  get reachable(): boolean {
    return this.all.some(({ key }) => !this.#away.has(key));
  }

  /**
   * @param key as another replica has told it: clients' tokens go there, so only an address that is known here is taken
   * @returns undefined for any other
   */
  async find(key: string): Promise<BridgeAddress | undefined> {
    const known = () => this.all.find((address) => address.key === key);
    const isOurs = this.#urls.some(({ href }) => key.startsWith(`${href} `));
    // The other replica may have seen the name change before this one did.
    if (known() === undefined && isOurs) await this.#refreshSoon();
    return known();
  }

  /** @param tag of its key, see {@link shortTag}, as another replica has told it @returns undefined where it is none of ours */
  async findTagged(tag: string): Promise<BridgeAddress | undefined> {
    const known = () => this.all.find(({ key }) => shortTag(key) === tag);
    if (known() === undefined) await this.#refreshSoon();
    return known();
  }

  /** Looks every name up again; one that cannot be resolved keeps its addresses. */
  async refresh(): Promise<void> {
    this.#refreshedAt = this.#clock.monotonic();
    await Promise.all(this.#urls.map((url) => this.#refreshOne(url)));
    const known = new Set(this.all.map(({ key }) => key));
    for (const key of this.#refusedUntil.keys()) if (!known.has(key)) this.#refusedUntil.delete(key);
    for (const [key, stopLooking] of this.#away) {
      if (known.has(key)) continue;
      stopLooking();
      this.#away.delete(key);
    }
  }

  close(): void {
    this.#stopRefreshing();
    for (const stopLooking of this.#away.values()) stopLooking();
  }

  /** A name may be slow to look up: one lookup at a time, and a second between two. */
  async #refreshSoon(): Promise<void> {
    if (this.#refreshing === undefined && this.#clock.monotonic() - this.#refreshedAt < lookMs) return;
    this.#refreshing ??= this.refresh().finally(() => {
      this.#refreshing = undefined;
    });
    await Promise.race([this.#refreshing, pause(this.#clock, lookMs)]);
  }

  async #refreshOne(url: URL): Promise<void> {
    if (isIP(bareHost(url)) !== 0) return;
    const ips = await this.#resolve(url.hostname).catch(() => []);
    if (ips.length === 0) return;
    const before = this.#found.get(url)!;
    const now = instancesAmong(ips).map((ip) => addressAt(url, ip));
    this.#found.set(
      url,
      now.map((address) => before.find(({ key }) => key === address.key) ?? address),
    );
  }
}

/** Whether a server of ours that listens there is what stands at this bridge's address. */
export function isAt({ origin }: BridgeAddress, { host, port }: HostPort): boolean {
  const url = new URL(origin);
  if (portOf(url) !== port) return false;
  const hosts = bareHost(url) === 'localhost' ? ['127.0.0.1', '::1'] : [bareHost(url)];
  if (host === '0.0.0.0' || host === '::') return hosts.some((each) => isLoopback(each) || ownIps().includes(each));
  return hosts.includes(host) || (host === 'localhost' && hosts.some(isLoopback));
}

/** With the unspecified address, which as a destination means this machine. */
function ownIps(): string[] {
  const faces = Object.values(networkInterfaces()).flatMap((face) => face ?? []);
  return [...faces.map(({ address }) => address), '0.0.0.0', '::'];
}

/**
 * An instance has up to two addresses, one a family: those of the family that has more of them count, IPv4 in doubt.
 * `localhost` is one instance, and stays a name: which of the two families it listens on cannot be known.
 */
function instancesAmong(ips: string[]): (string | undefined)[] {
  if (ips.every(isLoopback)) return [undefined];
  const v4 = ips.filter((ip) => isIP(ip) === 4);
  const v6 = ips.filter((ip) => isIP(ip) === 6);
  // Sorted, so that a resolver that rotates its answer changes nothing.
  return [...new Set(v6.length > v4.length ? v6 : v4)].sort();
}

/** @param ip of the URL's name; without one the name stands for itself */
function addressAt(url: URL, ip?: string): BridgeAddress {
  const host = ip === undefined ? url.hostname : isIP(ip) === 6 ? `[${ip}]` : ip;
  return {
    key: ip === undefined ? url.href : `${url.href} ${ip}`,
    origin: `${url.protocol}//${host}${url.port === '' ? '' : `:${url.port}`}`,
    basePath: url.pathname.replace(/\/+$/, ''),
    host: url.host,
    servername: url.protocol === 'https:' && isIP(bareHost(url)) === 0 ? url.hostname : undefined,
  };
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}

function portOf({ port, protocol }: URL): number {
  return Number(port) || (protocol === 'https:' ? 443 : 80);
}

function tcpConnects({ origin }: BridgeAddress): Promise<boolean> {
  const url = new URL(origin);
  return new Promise((resolve) => {
    const socket = connect({ host: bareHost(url), port: portOf(url), timeout: lookMs });
    const end = (connects: boolean) => {
      socket.destroy();
      resolve(connects);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}

async function allAddresses(name: string): Promise<string[]> {
  const found = await lookup(name, { all: true });
  return found.map(({ address }) => address);
}
