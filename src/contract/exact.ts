// JSON whose numbers keep their text: in goes a JSON text, out comes its value, in which each number is what stands there (`1.0` is
// not `1`).

export class NumberText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** @throws SyntaxError where the text is no JSON; RangeError where it nests too deep */
export function parseExact(text: string): unknown {
  return JSON.parse(text, keepNumber);
}

function keepNumber(_: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' ? new NumberText(context?.source ?? String(value)) : value;
}
