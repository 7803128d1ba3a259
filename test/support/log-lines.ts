// What is logged, as a test reads it: out go a logger and the lines that it was given.

import { pino } from 'pino';
import type { Logger } from '../../src/telemetry/logger.ts';

export interface LogLines {
  logger: Logger;
  lines: Record<string, unknown>[];
}

/** @param level what is below it is not there */
export function logLines(level = 'info'): LogLines {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const formatters = { level: (label: string) => ({ level: label }) };
  return { lines, logger: pino({ level, base: null, timestamp: false, formatters }, { write }) };
}
