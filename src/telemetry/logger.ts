// The process's log lines: JSON by pino on stdout. A line never holds a token, a key or a payload: what is logged is
// named field by field at each place, and the redaction below is the net under it.

import { pino } from 'pino';

export type Logger = pino.Logger;

/** @param options.instance the replica's name, in every line: several may log to one place */
export function createLogger({ level, instance }: { level: string; instance: string }): Logger {
  return pino({
    base: { name: 'crossfade', instance, pid: process.pid },
    level,
    redact: { paths: ['*.authorization', '*.access_token', '*.payload', '*.password'], censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}

/** For tests and short commands that have nothing to say. */
export const silentLogger: Logger = pino({ level: 'silent' });
