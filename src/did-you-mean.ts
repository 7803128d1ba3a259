// What somebody may have meant: in come a name that is not known and those that are, out goes the nearest one, if any is near.

const mostEdits = 3;

/** @returns undefined where none is near */
export function nearestName(name: string, known: string[]): string | undefined {
  const near = known.map((each) => ({ each, edits: editsBetween(name, each) }));
  return near.filter(({ edits }) => edits <= mostEdits).sort((one, other) => one.edits - other.edits)[0]?.each;
}

/** How many letters must be put in, taken out or changed to make one of the other (Levenshtein). */
function editsBetween(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, n) => n);
  for (const [at, letter] of [...one].entries()) {
    const next = [at + 1];
    for (const [n, otherLetter] of [...other].entries()) {
      next.push(Math.min(next[n]! + 1, row[n + 1]! + 1, row[n]! + (letter === otherLetter ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1)!;
}
