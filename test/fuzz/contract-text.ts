// The built-in contract as the fuzzers need it: which calls and hub methods there are, and the types of what they take.

import { parse } from 'yaml';
import { assetText } from '../../src/assets.ts';
import type { Shape, Types } from './json.ts';

export const contractText = assetText('support-center.yaml');

const document = parse(contractText) as {
  types: Types;
  streams: Record<string, number>;
  calls: Record<string, { body: Shape }>;
  foreign: Record<string, { payload: Shape | 'any' }>;
  hubs: Record<string, { methods: Record<string, { args: Shape }> }>;
};

export const { types } = document;
export const streams = Object.keys(document.streams);
export const calls = Object.entries(document.calls).map(([path, { body }]) => ({ path, body }));
export const foreign = Object.entries(document.foreign).map(([type, { payload }]) => ({ type, payload }));
export const hubNames = Object.keys(document.hubs);
export const methods = Object.entries(document.hubs).flatMap(([hub, one]) =>
  Object.entries(one.methods).map(([name, { args }]) => ({ hub, name, args: Object.values(args) })),
);
