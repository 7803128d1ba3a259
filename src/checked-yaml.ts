// A file of people: in go YAML text and the shape that it must have, out comes its value, or every fault with its line.

import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';

/** From the document's root down. */
export type YamlPath = (string | number)[];

export interface YamlFault {
  /** From 1; 1 where the fault has no place of its own. */
  line: number;
  /** Such as `calls.chat/message.room`; the file's name where it has none. */
  place: string;
  message: string;
}

export interface CheckedYaml<Value> {
  value: Value;
  /** Faults that the shape does not show, placed as those that it does. */
  placed(faults: { path: YamlPath; message: string }[]): YamlFault[];
}

/**
 * @param source the file's name, for the faults
 * @param refuse throws what its caller makes of the faults, by their lines
 */
export function checkYaml<Value>(
  text: string,
  source: string,
  shape: z.ZodType<Value>,
  refuse: (faults: YamlFault[]) => never,
): CheckedYaml<Value> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, logLevel: 'error' });
  if (document.errors.length > 0) {
    const ofError = ({ linePos, message }: (typeof document.errors)[number]) => ({
      line: linePos?.[0].line ?? 1,
      place: source,
      message: message.split('\n')[0]!,
    });
    return refuse(document.errors.map(ofError));
  }
  const placed = (faults: { path: YamlPath; message: string }[]) =>
    faults
      .map(({ path, message }) => ({
        line: lines.linePos(offsetOf(document, path)).line,
        place: path.join('.') || source,
        message,
      }))
      .sort((a, b) => a.line - b.line);
  const parsed = shape.safeParse(treeOf(document, (message) => refuse(placed([{ path: [], message }]))));
  if (parsed.success) return { value: parsed.data, placed };
  return refuse(placed(parsed.error.issues.map(({ path, message }) => ({ path: path as YamlPath, message }))));
}

/** What only shows when aliases are followed: one that names nothing, or so many that they would fill the memory. */
function treeOf(document: ReturnType<typeof parseDocument>, refuse: (message: string) => never): unknown {
  try {
    return document.toJS();
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** Where a path stands in the text; of the nearest parent where it does not exist (a missing key, say). */
function offsetOf(document: ReturnType<typeof parseDocument>, path: YamlPath): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return node.range[0];
  }
  return 0;
}
