// What replicas say to each other by HTTP, at the paths of peers/peers.ts: in come signed JSON bodies, out go JSON answers. Promise: a word
// is judged by its signature before its body is read, and one for another replica is not taken (421).

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { forecastQuestion } from '../cutover/forecast.ts';
import type { ReaderWatch } from '../cutover/reader-watch.ts';
import type { Rollback } from '../cutover/rollback.ts';
import type { Survey } from '../cutover/survey.ts';
import { hasCode } from '../errors.ts';
import { type PeerSignature, signatureHeader, unsigned } from '../peers/peer-signature.ts';
import { addresseeHeader, peerPaths } from '../peers/peers.ts';
import { type Outage, outageNews } from '../rooms/outage.ts';
import { stateShape } from '../rooms/state.ts';
import type { UncertainAppends } from '../rooms/uncertain.ts';
import type { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import { writeJson } from './answers.ts';
import { answerRoute, parseRequest, pathOf, readBytes } from './requests.ts';

export interface PeerRoutesOptions {
  /** This replica's name. */
  instance: string;
  rollback: Pick<Rollback, 'adoptFromPeer'>;
  survey: Pick<Survey, 'ownView' | 'ownForecast' | 'ownReach'>;
  uncertain: Pick<UncertainAppends, 'hear' | 'decided'>;
  outage: Pick<Outage, 'hear'>;
  readerWatch: Pick<ReaderWatch, 'reads'>;
  signature: PeerSignature;
  /** Whoever is not known as a replica is told seldom. */
  saysUnsigned: LogThrottle;
  logger: Logger;
}

const questionBody = z.object({ id: z.string(), eventId: z.string(), room: z.string() });
const verdictBody = z.object({ id: z.string(), verdict: z.enum(['withhold', 'show']) });

type ReadSigned = <Value>(shape: z.ZodType<Value>) => Promise<Value>;

const words: Record<string, (options: PeerRoutesOptions, read: ReadSigned) => Promise<unknown>> = {
  [peerPaths.adopt]: async ({ rollback }, read) => rollback.adoptFromPeer(await read(stateShape)),
  [peerPaths.uncertain]: async ({ uncertain }, read) => uncertain.hear(await read(questionBody)),
  [peerPaths.uncertainDecided]: async ({ uncertain }, read) => uncertain.decided(await read(verdictBody)),
  [peerPaths.reading]: async ({ readerWatch }, read) => {
    await read(z.object({}));
    return { reads: readerWatch.reads };
  },
  [peerPaths.look]: async ({ survey }, read) => {
    await read(z.object({}));
    return survey.ownView();
  },
  [peerPaths.forecast]: async ({ survey }, read) => survey.ownForecast(await read(forecastQuestion)),
  [peerPaths.reach]: async ({ survey }, read) => {
    await read(z.object({}));
    return { notReached: await survey.ownReach() };
  },
  [peerPaths.outage]: async ({ outage }, read) => outage.hear(await read(outageNews)),
};

export function isPeerWord(request: IncomingMessage): boolean {
  return request.method === 'POST' && Object.hasOwn(words, pathOf(request));
}

/** @param request one that {@link isPeerWord} */
export async function answerPeer(
  request: IncomingMessage,
  response: ServerResponse,
  options: PeerRoutesOptions,
): Promise<void> {
  const { instance, saysUnsigned, logger } = options;
  const addressee = request.headers[addresseeHeader] ?? encodeURIComponent(instance);
  if (addressee !== encodeURIComponent(instance)) return writeJson(response, 421, { error: 'not this replica' });
  await answerRoute(response, async () => {
    try {
      return await hear(options, request);
    } catch (error) {
      if (hasCode(error, 'PEER_UNSIGNED') && saysUnsigned.isDue())
        logger.warn({ code: error.code, from: request.socket.remoteAddress }, error.message);
      throw error;
    }
  });
}

async function hear(options: PeerRoutesOptions, request: IncomingMessage): Promise<object> {
  const path = pathOf(request);
  const isSigned = options.signature.check(path, request.headers[signatureHeader]?.toString());
  const answer = await words[path]!(options, async (shape) => {
    const body = await readBytes(request);
    if (!isSigned(body)) throw unsigned('its body is not the one that was signed');
    return parseRequest(body, shape);
  });
  return answer === undefined ? {} : (answer as object);
}
