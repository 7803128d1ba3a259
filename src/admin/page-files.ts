// The operator's page: its files, the same for everybody. In come requests, out go the files out of the program itself, so that
// the page works without any other host. Promises: no file says anything of this crossfade, so that whoever has no token may have
// them; nothing but these files is run or loaded by the page, and no other page may frame it.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AssetName, assetText } from '../assets.ts';

const types = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
};

const files: Record<string, AssetName> = {
  '/': 'operator.html',
  '/page/operator.css': 'operator.css',
  '/page/operator.js': 'operator.js',
  '/page/compare.js': 'operator-compare.js',
  '/page/live.js': 'operator-live.js',
  '/page/plan.js': 'operator-plan.js',
  '/page/plots.js': 'operator-plots.js',
  '/page/view.js': 'operator-view.js',
  '/page/uplot.js': 'uplot.js',
  '/page/uplot.css': 'uplot.css',
};

/** Styles that uPlot sets go by the DOM, which this allows. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** @returns whether the request was for one of them */
export function answerPageFile(request: IncomingMessage, response: ServerResponse): boolean {
  const path = request.url!.split('?', 1)[0]!;
  if (!Object.hasOwn(files, path) || (request.method !== 'GET' && request.method !== 'HEAD')) return false;
  const name = files[path]!;
  const body = Buffer.from(assetText(name));
  const headers = {
    'Content-Type': types[name.split('.').at(-1) as keyof typeof types],
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    'Content-Security-Policy': policy,
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
  };
  response.writeHead(200, headers).end(body);
  return true;
}
