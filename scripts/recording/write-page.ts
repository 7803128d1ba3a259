// Puts recorded sessions in their places: in come a page and what was recorded by name, out goes the page with them. Promise: nothing
// but what stands between `<!-- recorded <name> -->` and `<!-- /recorded -->` changes.

import { readFileSync, writeFileSync } from 'node:fs';

/** @param page the file's path @param recorded name of the place -> what the terminal showed, ending with a line break */
export function writePage(page: string, recorded: Map<string, string>): void {
  let text = readFileSync(page, 'utf8');
  for (const [name, session] of recorded) {
    const place = new RegExp(`(<!-- recorded ${name} -->\n)[\\s\\S]*?(<!-- /recorded -->)`);
    text = text.replace(place, (_, start: string, end: string) => `${start}\`\`\`\n${session}\`\`\`\n${end}`);
  }
  writeFileSync(page, text);
}
