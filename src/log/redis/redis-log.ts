// The Redis engine of the log: one Redis, its streams, and crossfade's own keys beside them. In comes an address, out goes
// a Log once Redis answers and the instance name is ours. The parts lie beside this file; here they are only put together.

import type { Redis } from 'ioredis';
import { hasCode } from '../../errors.ts';
import { parseRedisUrl, type RedisAddress } from '../../redis-url.ts';
import { Seldom } from '../../telemetry/seldom.ts';
import type { Log, LogOptions } from '../log.ts';
import { createAppend } from './append.ts';
import { createClaims } from './claims.ts';
import {
  ask,
  connect,
  isReady,
  isServerError,
  noAnswer,
  unavailable,
  untilReady,
  within,
  withoutArguments,
} from './connections.ts';
import { createCutoverState } from './cutover-state.ts';
import { warnOfEviction } from './eviction.ts';
import { foreignReaders } from './foreign.ts';
import { sweepGroups } from './groups.ts';
import { connectionOf, type Lease, newToken, renewEveryMs, takeLease } from './lease.ts';
import { openReader, type RedisReader } from './reader.ts';
import { createRoster } from './roster.ts';
import { askTime, watchServerClock } from './server-clock.ts';
import { createShared } from './shared.ts';

const openTimeoutMs = 5_000;
const answerMs = 2_000;
/** A refusal of an event counts for so long where no other is asked of Redis, and the lease can be written. */
const refusalMs = 5_000;
const sayEveryMs = 30_000;

/**
 * The instance name is taken by openReader(), which may have to wait for the lease of a process that died with it; until then this
 * replica can append, claim and read the shared state, and is in no roster.
 * @param options.url `redis[s]://[user][:password]@host[:port][/db]`, escaped or not
 * Error: CONFIG_INVALID (the address cannot be read).
 */
export function createRedisLog(options: LogOptions & { url: string }): Log {
  const { clock, logger } = options;
  const address = parseRedisUrl(options.url);
  const token = newToken();
  const naming = { connectionName: connectionOf(token) };
  const commands = connect(address, 'commands', logger, { enableAutoPipelining: true, ...naming });
  const lookUps = connect(address, 'lookups', logger);
  const serverClock = watchServerClock(commands, clock, Math.max(options.publishTimeoutMs / 2, 5));
  return createLog({ address, commands, lookUps, serverClock, token, options });
}

async function waitUntilAnswers(redis: Redis, { host, port }: RedisAddress, { clock }: LogOptions): Promise<void> {
  let lastError: Error | undefined;
  const note = (error: Error) => {
    lastError = error;
  };
  redis.on('error', note);
  const giveUpAt = clock.monotonic() + openTimeoutMs;
  await untilReady(redis, clock, () => clock.monotonic() < giveUpAt);
  redis.off('error', note);
  if (!isReady(redis)) {
    // A wrong password, say.
    const refused = isServerError(lastError) ? `refuses: ${lastError!.message}` : 'did not answer within 5 s';
    throw unavailable(`Redis at ${host}:${port} ${refused}`, 'connection_lost', lastError);
  }
}

interface Parts {
  address: RedisAddress;
  commands: Redis;
  lookUps: Redis;
  serverClock: ReturnType<typeof watchServerClock>;
  /** What the lease on the instance name holds when it is ours. */
  token: string;
  options: LogOptions;
}

function createLog({ address, commands, lookUps, serverClock, token, options }: Parts): Log {
  const { clock, logger, publishTimeoutMs } = options;
  const { claim, settle, rememberIds, stop: stopClaims } = createClaims(commands, options);
  const writeParts = { commands, lookUps, serverClock, options };
  const append = createAppend(writeParts);
  const { readState, commitState } = createCutoverState(writeParts);
  const { share, shared } = createShared(commands, options);
  const roster = createRoster(commands, options);
  const underWay = new Set<Promise<unknown>>();
  let reader: RedisReader | undefined;
  let lease: Lease | undefined;

  let isLost = false;
  let refusal: { why: string; at: number } | undefined;
  const saysRenewal = new Seldom(clock, sayEveryMs);

  /** What the name stands for belongs to its new holder from then on: neither read nor written nor removed any more. */
  async function ownsName(): Promise<boolean> {
    if (isLost || lease === undefined) return false;
    if (await lease.renew()) return true;
    if (isLost) return false;
    isLost = true;
    logger.error({ instance: options.instance }, 'another process took this instance name');
    reader?.close().catch(() => {});
    options.onInstanceLost();
    return false;
  }

  /** A replica whose events are refused is soon asked for none: by its renewals it sees when that is over. */
  async function renewAll(): Promise<void> {
    if (!isReady(commands) || !(await ownsName())) return;
    await roster.renew();
    if (refusal !== undefined && clock.monotonic() - refusal.at >= refusalMs) refusal = undefined;
  }

  const renew = () => {
    renewAll().catch((error) => {
      const reason = withoutArguments(error).message;
      if (isServerError(error)) refusal = { why: reason, at: clock.monotonic() };
      if (saysRenewal.isDue()) logger.warn({ reason }, 'lease and roster could not be renewed');
    });
  };
  commands.on('ready', renew);
  const stopRenewing = clock.every(renewEveryMs, renew);
  const stopSweeping = sweepGroups(commands, options);

  /** A dead holder's roster is not ours to go on with: what it counted is gone with its connections. */
  async function takeName(): Promise<void> {
    lease ??= await takeLease(commands, token, options);
    await ask(clock, answerMs, 'the roster could not be written', () => roster.begin());
  }

  /** close() waits for it. */
  function tracked<T>(outcome: Promise<T>): Promise<T> {
    underWay.add(outcome);
    const taken = () => {
      refusal = undefined;
    };
    outcome.then(taken, noteRefusal).finally(() => underWay.delete(outcome));
    return outcome;
  }

  function noteRefusal(error: unknown): void {
    if (!hasCode(error, 'LOG_APPEND_REFUSED') || error.reason !== 'redis_error') return;
    refusal = { why: error.cause instanceof Error ? error.cause.message : error.message, at: clock.monotonic() };
  }

  async function close(): Promise<void> {
    serverClock.close();
    await within(clock, 2 * publishTimeoutMs + answerMs, Promise.allSettled(underWay));
    stopRenewing();
    stopSweeping();
    stopClaims();
    roster.stop();
    commands.off('ready', renew);
    const goodbye = Promise.allSettled([
      reader?.close(),
      ...(isLost || lease === undefined ? [] : [roster.giveBack(), lease.giveBack()]),
    ]);
    if ((await within(clock, answerMs, goodbye)) === noAnswer) {
      logger.warn('Redis did not answer at the end; lease and groups will lapse by themselves');
    }
    commands.disconnect();
    lookUps.disconnect();
  }

  /** Waits for Redis for 5 s. */
  async function open(): Promise<void> {
    await waitUntilAnswers(commands, address, options);
    await ask(clock, answerMs, `Redis at ${address.host}:${address.port} refuses`, () => serverClock.measure());
    warnOfEviction(commands, logger);
  }

  return {
    open,
    append: (entry) => tracked(append(entry)),
    claim,
    settle,
    rememberIds,
    time: () => askTime(commands, options),
    readState,
    commitState: (next, commit) => tracked(commitState(next, commit)),
    foreignReaders: (streams, withinMs) => foreignReaders(commands, streams, withinMs, options),
    share,
    shared,
    roster,
    close,
    get reachable() {
      return serverClock.answers;
    },
    get refusal() {
      return refusal?.why;
    },
    async openReader(streams) {
      await takeName();
      const blocking = connect(address, 'reader', logger);
      const opening = () => openReader({ blocking, commands, options, token, ownsName }, streams);
      try {
        reader = await ask(clock, openTimeoutMs, 'the consumer groups could not be made', opening);
      } catch (error) {
        blocking.disconnect();
        throw error;
      }
      return reader;
    },
    async streamStates() {
      if (reader === undefined) return [];
      const open = reader;
      return ask(clock, answerMs, 'the streams could not be looked at', () => open.streamStates(commands));
    },
  };
}
