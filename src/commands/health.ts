// `crossfade health`: for a container's health check. In comes the address of its admin port, out go whether this replica is
// ready, what keeps it from it, and exit code 0 or 1.

import type { Check } from '../admin/admin.ts';
import { askForAny } from './admin-port.ts';

export interface HealthOptions {
  /** Base URL of the admin port. */
  admin: string;
  output: 'text' | 'json';
}

/** What `GET /readyz` says. */
interface Readiness {
  status: string;
  checks: Record<string, Check>;
}

/** Whoever checks gives up about then, too. */
const timeoutMs = 5_000;
const nameWidth = 10;

/** Errors: CONFIG_INVALID, ADMIN_UNREACHABLE. */
export async function health({ admin, output }: HealthOptions): Promise<void> {
  const { status, answer } = await askForAny<Readiness>({ admin, timeoutMs }, 'GET', '/readyz');
  console.log(output === 'json' ? JSON.stringify(answer) : readinessText(answer));
  if (status !== 200) process.exitCode = 1;
}

function readinessText({ status, checks }: Readiness): string {
  const failed = Object.entries(checks).filter(([, { ok }]) => !ok);
  return [status, ...failed.map(([name, { detail }]) => `${name.padEnd(nameWidth)}${detail}`)].join('\n');
}
