// The files that the program ships: from disk in a checkout, from inside the executable in the single binary.

import { readFileSync } from 'node:fs';
import { getAsset, isSea } from 'node:sea';

/** Name to path from the repository's root; the build puts exactly these into the binary. */
export const assets = {
  'support-center.yaml': 'src/contract/support-center.yaml',
  'page.html': 'src/demo/page.html',
  'page.js': 'src/demo/page.js',
  'operator.html': 'src/admin/page/operator.html',
  'operator.css': 'src/admin/page/operator.css',
  'operator.js': 'src/admin/page/operator.js',
  'operator-live.js': 'src/admin/page/live.js',
  'operator-compare.js': 'src/admin/page/compare.js',
  'operator-plan.js': 'src/admin/page/plan.js',
  'operator-plots.js': 'src/admin/page/plots.js',
  'operator-view.js': 'src/admin/page/view.js',
  'uplot.js': 'node_modules/uplot/dist/uPlot.iife.min.js',
  'uplot.css': 'node_modules/uplot/dist/uPlot.min.css',
  'signalr.min.js': 'node_modules/@microsoft/signalr/dist/browser/signalr.min.js',
};

export type AssetName = keyof typeof assets;

export function assetText(name: AssetName): string {
  if (isSea()) return getAsset(name, 'utf8');
  return readFileSync(new URL(`../${assets[name]}`, import.meta.url), 'utf8');
}
