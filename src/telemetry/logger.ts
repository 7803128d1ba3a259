// The process's log lines: JSON by pino on stdout. A line never holds a token, a key or a payload: what is logged is
// named field by field at each place, and the redaction below is the net under it.

import { pino } from 'pino';

export type Logger = pino.Logger;

/** @param name the part of crossfade that speaks, such as `serve`; the level comes from LOG_LEVEL (default `info`) */
export function createLogger(name: string): Logger {
  return pino({
    name,
    level: process.env.LOG_LEVEL ?? 'info',
    redact: { paths: ['*.authorization', '*.access_token', '*.payload', '*.password'], censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}

/** For tests and short commands that have nothing to say. */
export const silentLogger: Logger = pino({ level: 'silent' });
