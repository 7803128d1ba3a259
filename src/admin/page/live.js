// The page's connection: in come the events of `GET /cutover/live`, out go their values, and whether they come at all. By fetch, as an
// EventSource sends no header: the token never stands in an address.

const againMs = 1_000;
/** One comes each second. */
const silentMs = 5_000;
const tokenKey = 'crossfade-token';

export const token = {
  get: () => sessionStorage.getItem(tokenKey),
  set: (value) => sessionStorage.setItem(tokenKey, value),
  forget: () => sessionStorage.removeItem(tokenKey),
};

function authorization() {
  const value = token.get();
  return value === null ? {} : { authorization: `Bearer ${value}` };
}

/** @returns `{ok, status, body}`; never rejects. */
export async function ask(method, path, body) {
  try {
    const response = await fetch(path, { method, headers: authorization(), body: JSON.stringify(body) });
    return { ok: response.ok, status: response.status, body: await response.json().catch(() => ({})) };
  } catch {
    return { ok: false, status: 0, body: { message: 'crossfade does not answer' } };
  }
}

/** Watches for as long as the page lives, over every loss. @param on `{greeting, state, lost(why)}`; @returns what begins it anew */
export function watch(on) {
  let current;
  async function go() {
    for (;;) {
      current = new AbortController();
      on.lost(await follow(on, current));
      if (!current.signal.aborted) await new Promise((resolve) => setTimeout(resolve, againMs));
    }
  }
  go();
  return () => current.abort();
}

/** @returns why it has ended: `refused`, `full` or `gone` */
async function follow(on, controller) {
  let silence;
  const stillHere = () => {
    clearTimeout(silence);
    silence = setTimeout(() => controller.abort(), silentMs);
  };
  try {
    stillHere();
    const { signal } = controller;
    const response = await fetch('/cutover/live', { headers: authorization(), signal });
    if (response.status === 401) return 'refused';
    if (!response.ok) return 'full';
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      stillHere();
      const events = (text + read.value).split('\n\n');
      text = events.pop();
      for (const event of events) tell(on, event);
    }
  } catch (error) {
    if (!(error instanceof TypeError) && error.name !== 'AbortError') throw error;
  } finally {
    clearTimeout(silence);
  }
  return 'gone';
}

function tell(on, event) {
  const [kind, data] = event.split('\n').map((line) => line.slice(line.indexOf(': ') + 2));
  on[kind](JSON.parse(data));
}
