// What replicas say to each other by HTTP, at the paths of peers/peers.ts: in come signed JSON bodies, out go JSON answers. Promise: a word
// is judged by its signature before its body is read, and one for another replica is not taken (421).

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { forecastQuestion } from '../cutover/forecast.ts';
import type { ReaderWatch } from '../cutover/reader-watch.ts';
import type { Rollback } from '../cutover/rollback.ts';
import type { Survey } from '../cutover/survey.ts';
import type { Edge } from '../edge/edge.ts';
import { hasCode } from '../errors.ts';
import { acceptPeer } from '../peers/peer-connection.ts';
import { addresseeHeader, type PeerSignature, signatureHeader, unsigned } from '../peers/peer-signature.ts';
import { peerPaths } from '../peers/peers.ts';
import { refusalOf, refuse, sendRefusal } from '../refusal.ts';
import { type Outage, outageNews } from '../rooms/outage.ts';
import { stateShape } from '../rooms/state.ts';
import type { UncertainAppends } from '../rooms/uncertain.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import { writeJson } from './answers.ts';
import { answerRoute, parseRequest, pathOf, readBytes } from './requests.ts';

export interface PeerRoutesOptions {
  /** This replica's name. */
  instance: string;
  /** undefined: an ingress alone. */
  edge: Pick<Edge, 'takePeer' | 'userOf'> | undefined;
  rollback: Pick<Rollback, 'adoptFromPeer'>;
  survey: Pick<Survey, 'ownView' | 'ownForecast' | 'ownReach'>;
  uncertain: Pick<UncertainAppends, 'hear' | 'decided'>;
  outage: Pick<Outage, 'hear'>;
  readerWatch: Pick<ReaderWatch, 'reads'>;
  signature: PeerSignature;
  /** Whoever is not known as a replica is told seldom. */
  saysUnsigned: LogThrottle;
  logger: Logger;
  clock: Clock;
}

const questionBody = z.object({ id: z.string(), eventId: z.string(), room: z.string() });
const connectionQuestion = z.object({ connectionId: z.string() });
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
  [peerPaths.connection]: async ({ edge }, read) => edge?.userOf((await read(connectionQuestion)).connectionId),
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
  if (!isForUs(request, options)) return writeJson(response, 421, { error: 'not this replica' });
  await answerRoute(response, async () => {
    try {
      return await hear(options, request);
    } catch (error) {
      sayUnsigned(error, request, options);
      throw error;
    }
  });
}

/**
 * Another replica asks for a connection for requests of its clients: with consent that is the edge's, else it is refused.
 * @param mayAsk false where nothing is signed, and the request comes from where nobody is let in
 * @param own this replica's admin address, as it tells the others
 */
export function admitPeer(request: IncomingMessage, mayAsk: boolean, own: string, options: PeerRoutesOptions): void {
  const { instance, edge, signature } = options;
  if (edge === undefined) return refusePeer(request, 404, options);
  if (!isForUs(request, options)) return refusePeer(request, 421, options);
  if (!mayAsk) return refusePeer(request, 401, options);
  try {
    edge.takePeer(acceptPeer(request, signature, { instance, admin: own }));
  } catch (error) {
    if (!hasCode(error, 'PEER_UNSIGNED')) throw error;
    sayUnsigned(error, request, options);
    refusePeer(request, 401, options);
  }
}

function isForUs({ headers }: IncomingMessage, { instance }: PeerRoutesOptions): boolean {
  const addressee = headers[addresseeHeader] ?? encodeURIComponent(instance);
  return addressee === encodeURIComponent(instance);
}

function sayUnsigned(error: unknown, { socket }: IncomingMessage, { logger, saysUnsigned }: PeerRoutesOptions): void {
  if (hasCode(error, 'PEER_UNSIGNED') && saysUnsigned.isDue())
    logger.warn({ code: error.code, from: socket.remoteAddress }, error.message);
}

function refusePeer(request: IncomingMessage, status: number, { clock }: PeerRoutesOptions): void {
  const refusal = refusalOf(request);
  refuse(refusal, status);
  sendRefusal(refusal, request.socket, clock);
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
