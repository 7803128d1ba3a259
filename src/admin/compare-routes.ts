// The compare by HTTP: `GET /compare` (what was found; with `?values=yes` also what stood in the messages), `POST /compare/start` and
// `POST /compare/stop`. In come JSON bodies, out goes the run with its verdict.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Compare } from '../compare/compare.ts';
import { type CompareView, compareView } from '../compare/report.ts';
import type { Clock } from '../telemetry/clock.ts';
import { answerRoute, pathOf, readRequest } from './requests.ts';

export interface CompareRoutesOptions {
  compare: Pick<Compare, 'run' | 'start' | 'stop'>;
  clock: Clock;
}

const orderBody = z.strictObject({ by: z.string().min(1).max(200).default('somebody') });

type CompareRoute = (options: CompareRoutesOptions, request: IncomingMessage) => Promise<CompareView>;

const routes: Record<string, CompareRoute> = {
  'GET /compare': async (options, { url }) =>
    viewNow(options, new URLSearchParams(url!.split('?', 2)[1]).get('values') === 'yes'),
  'POST /compare/start': async (options, request) => {
    await options.compare.start((await readRequest(request, orderBody)).by);
    return viewNow(options);
  },
  'POST /compare/stop': async (options, request) => {
    await readRequest(request, orderBody);
    await options.compare.stop();
    return viewNow(options);
  },
};

/** @returns whether the request was one of these */
export async function answerCompare(
  request: IncomingMessage,
  response: ServerResponse,
  options: CompareRoutesOptions,
): Promise<boolean> {
  const route = routes[`${request.method} ${pathOf(request)}`];
  if (route === undefined) return false;
  await answerRoute(response, () => route(options, request));
  return true;
}

function viewNow({ compare, clock }: CompareRoutesOptions, showValues = false): CompareView {
  return compareView(compare.run, clock.now(), showValues);
}
