// `crossfade serve`: one replica for the life of this process. Promises: runs until it is told to end (SIGTERM, SIGINT, SIGHUP,
// SIGQUIT), then lets its clients go at the configured rate and ends within 10 s more; ends with exit code 1 if another process
// takes its instance name, or if something fails that no boundary caught: its clients are not let go one by one then. It never ends without
// a word.

import type { Config, HostPort } from '../config.ts';
import { type Replica, startReplica } from '../replica.ts';
import { createLogger } from '../telemetry/logger.ts';

/** ms that the end may take once the clients are gone: one that hangs (on a bridge that does not answer, say) is given up. */
const stopLimitMs = 9_500;

/** What may end a process from outside and lets it drain. */
export const endSignals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const;

/** Errors: LOG_UNAVAILABLE (without a bridge), LOG_INSTANCE_TAKEN, CONTRACT_INVALID, CONFIG_INVALID. */
export async function serve(config: Config): Promise<void> {
  const logger = createLogger({ level: config.logLevel, instance: config.instance });
  const asked = Promise.withResolvers<string>();
  const lost = Promise.withResolvers<string>();
  for (const signal of endSignals) process.on(signal, () => asked.resolve(signal));
  let replica: Replica | undefined;
  const onUncaught = (error: unknown) => {
    if (replica !== undefined) return replica.coreFailed(error);
    logger.fatal({ err: error }, 'a fault before the replica had started');
    process.exit(1);
  };
  process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught);
  // Until its ports are open nothing keeps the process: the clock's timers do not, and Node would end it in the middle of a pause.
  const staysAlive = setInterval(() => {}, 60_000);
  replica = await startReplica(config, logger, (why) => {
    process.exitCode = 1;
    lost.resolve(why);
  }).finally(() => clearInterval(staysAlive));
  const { ready, percent, hubs } = replica;
  const [listen, admin, health] = [replica.listen, replica.admin, replica.health].map(addressText);
  if (listen !== undefined) logger.info({ listen, admin, health }, 'the backend side is open');
  const running = ready.then((edge) => {
    const sides = { listen, edge: addressText(edge), admin, health };
    logger.info({ ...sides, hubs, percent: percent() }, 'ready');
    return asked.promise;
  });
  const reason = await Promise.race([running, asked.promise, lost.promise, replica.failed]);
  logger.info({ reason }, 'draining');
  // Of one that cannot go on clients have nothing any more: its stop closes them all.
  await Promise.race([asked.promise.then(() => replica.drain()), lost.promise]);
  setTimeout(() => {
    logger.error('the end took too long; what was still under way is cut off');
    process.exit(1);
  }, stopLimitMs).unref();
  await replica.stop();
  logger.info('stopped');
  process.exit();
}

/** undefined for a side that is off: the line of the log says nothing of it. */
function addressText(address: HostPort | undefined): string | undefined {
  if (address === undefined) return undefined;
  const { host, port } = address;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
