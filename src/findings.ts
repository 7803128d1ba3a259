// What was looked at and how it was found: in come a name and words, out goes one line of a check or of a dry run. Promise: whatever
// is not as it must be says what to do.

export interface CheckFinding {
  /** What was looked at, such as `guard`. */
  name: string;
  /** `warn`: it works, but not as well as it could. */
  status: 'ok' | 'warn' | 'fail';
  /** What is so, in words for the operator. */
  detail: string;
  /** What to do; absent where it is ok. */
  hint?: string;
}

export function good(name: string, detail: string): CheckFinding {
  return { name, status: 'ok', detail };
}

export function doubtful(name: string, detail: string, hint: string): CheckFinding {
  return { name, status: 'warn', detail, hint };
}

export function bad(name: string, detail: string, hint: string): CheckFinding {
  return { name, status: 'fail', detail, hint };
}
