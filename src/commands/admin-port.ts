// How a command speaks to a running crossfade: in come the URL of its admin port and a request, out comes the JSON that it
// answers. Promises: whatever keeps an answer from coming is one clear line, and the token is sent where there is one.

import { readSecret } from '../config.ts';
import { CrossfadeError, isCode } from '../errors.ts';

export interface AdminPort {
  /** Base URL. */
  admin: string;
  /** ms that an answer may take; as long as it takes where it is not given. */
  timeoutMs?: number;
}

/** What the admin port says where it does not do what it was asked. */
interface AdminRefusal {
  error?: string;
  message?: string;
}

/**
 * @param body sent as JSON
 * @returns the JSON of a 2xx
 * Errors: CONFIG_INVALID, ADMIN_UNREACHABLE, and the code that the answer itself names.
 */
export async function askAdmin<Answer>(port: AdminPort, method: string, path: string, body?: object): Promise<Answer> {
  const { status, answer } = await askForAny<Answer & AdminRefusal>(port, method, path, body);
  if (status < 300) return answer;
  const { error = '', message = '' } = answer;
  if (isCode(error)) throw new CrossfadeError(error, message);
  throw notTheAdminPort(port, status);
}

/** As {@link askAdmin}, for answers that count whatever their status is. Errors: CONFIG_INVALID, ADMIN_UNREACHABLE. */
export async function askForAny<Answer>(
  port: AdminPort,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; answer: Answer }> {
  const response = await send(port, method, path, body);
  if (response.status === 401)
    throw new CrossfadeError('ADMIN_UNREACHABLE', `${port.admin} wants CROSSFADE_ADMIN_TOKEN`);
  const answer = (await response.json().catch(() => undefined)) as Answer | undefined;
  if (answer === undefined) throw notTheAdminPort(port, response.status);
  return { status: response.status, answer };
}

async function send({ admin, timeoutMs }: AdminPort, method: string, path: string, body?: object): Promise<Response> {
  if (!/^https?:$/.test(URL.parse(admin)?.protocol ?? '')) {
    throw new CrossfadeError('CONFIG_INVALID', `--admin: '${admin}' is not an http:// or https:// address`);
  }
  const token = readSecret('CROSSFADE_ADMIN_TOKEN', process.env);
  try {
    return await fetch(admin.replace(/\/$/, '') + path, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(timeoutMs !== undefined && { signal: AbortSignal.timeout(timeoutMs) }),
    });
  } catch (cause) {
    const reason = ((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? (cause as Error).message;
    throw new CrossfadeError('ADMIN_UNREACHABLE', `no crossfade answers at ${admin} (${reason})`, { cause });
  }
}

function notTheAdminPort({ admin }: AdminPort, status: number): CrossfadeError {
  const hint = 'is that the admin port (--admin of `serve`, CROSSFADE_ADMIN)?';
  return new CrossfadeError('ADMIN_UNREACHABLE', `${admin} answered ${status}; ${hint}`);
}
