// The recording's two transcripts: a chat client over server-sent events and one over long polling.
// In comes a transcript with what is needed to play it; each recorded answer is compared with what came.
// The order of the steps is the recorder's; the broadcasts between them show only by what they deliver.

import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { comparableRecord } from './recording-compare.ts';
import type { HttpAnswer, HttpClient } from './recording-http.ts';
import { recordSeparator } from './signalr.ts';
import { until } from './wait.ts';

/** One request of a transcript with its answer. */
export interface Step {
  method: string;
  /** The id of the connection is left out of it: `/hubs/chat?id=…`. */
  path: string;
  body?: string | null;
  status: number;
  headers: Record<string, string>;
  text: string;
}

export interface Stage {
  http: HttpClient;
  hubsUrl: string;
  bearer: Record<string, string>;
  compare(answer: HttpAnswer, expected: HttpAnswer): void;
  /** Makes the backend's call that shows u9 typing in `sse-room`. */
  callTyping(): Promise<void>;
}

export async function playServerSentEvents(stage: Stage, transcript: Step[]): Promise<void> {
  const [negotiate, open, handshake, join, remove, ping] = transcript as [Step, Step, Step, Step, Step, Step];
  const url = await playNegotiate(stage, negotiate);
  const stream = await stage.http.open('GET', url, { ...stage.bearer, accept: 'text/event-stream' });
  const received = collect(stream);
  const expected = eventRecords(open.text);

  await playStep(stage, handshake, url);
  await received.until(1);
  await playStep(stage, join, url);
  await received.until(3);
  await stage.callTyping();
  await received.until(4);
  await playStep(stage, remove, url);
  await playStep(stage, ping, url);
  await stage.callTyping();
  await received.until(5);

  assert.deepEqual(eventRecords(received.text()), expected);
  const { statusCode, headers } = stream;
  stage.compare({ ...answerOf(open), status: statusCode!, headers: headers as Record<string, string> }, answerOf(open));
  compareCaching(headers as Record<string, string>, open);
  stream.destroy();
}

export async function playLongPolling(stage: Stage, transcript: Step[]): Promise<void> {
  const [negotiate, first, handshake, opened, join, joined, typing, last, remove, after] = transcript as Ten<Step>;
  const url = await playNegotiate(stage, negotiate);
  await playStep(stage, first, url);
  await playStep(stage, handshake, url);
  await playPolls(stage, opened, url);
  await playStep(stage, join, url);
  await playPolls(stage, joined, url);
  await stage.callTyping();
  await playPolls(stage, typing, url);

  const lastPoll = stage.http.send('GET', url, stage.bearer);
  await playStep(stage, remove, url);
  compareLastAnswer(await lastPoll, last, after);
  compareLastAnswer(await stage.http.send('GET', url, stage.bearer), last, after);
}

/**
 * The last two answers race with the removal on the bridge itself: a poll is over (204), knows nothing of the connection
 * any more (404), or still brings the Close that the removal caused. It never brings anything else.
 */
function compareLastAnswer(answer: HttpAnswer, over: Step, gone: Step): void {
  if (answer.status === 200) assert.equal(answer.body, `{"type":7,"allowReconnect":true}${recordSeparator}`);
  else assert([over.status, gone.status].includes(answer.status), `a poll after the end is answered ${answer.status}`);
}

type Ten<T> = [T, T, T, T, T, T, T, T, T, T];

/** @returns the URL of the connection */
async function playNegotiate(stage: Stage, step: Step): Promise<string> {
  const answer = await playStep(stage, step, stage.hubsUrl + step.path);
  return `${stage.hubsUrl}/hubs/chat?id=${JSON.parse(answer.body).connectionToken}`;
}

async function playStep(stage: Stage, step: Step, url: string): Promise<HttpAnswer> {
  const answer = await stage.http.send(step.method, url, stage.bearer, step.body ?? undefined);
  stage.compare(answer, answerOf(step));
  compareCaching(answer.headers, step);
  return answer;
}

/** Polls until all of the step's records have come; how many polls they take is a matter of luck. */
async function playPolls(stage: Stage, step: Step, url: string): Promise<void> {
  const expected = records(step.text);
  const received: string[] = [];
  while (received.length < expected.length) {
    const answer = await stage.http.send('GET', url, stage.bearer);
    stage.compare({ ...answer, body: '' }, { ...answerOf(step), body: '' });
    compareCaching(answer.headers, step);
    received.push(...records(answer.body));
  }
  assert.deepEqual(received, expected);
}

function compareCaching(headers: Record<string, string>, step: Step): void {
  for (const name of ['cache-control', 'content-encoding', 'expires', 'pragma']) {
    assert.equal(headers[name], step.headers[name], name);
  }
}

function answerOf({ status, headers, text }: Step): HttpAnswer {
  return { status, headers, body: text };
}

function records(text: string): string[] {
  return text.split(recordSeparator).filter(Boolean).map(comparableRecord);
}

/** The stream's prelude and the records of its whole events. */
function eventRecords(text: string): string[] {
  assert(text.startsWith(':\r\n'), 'the stream begins with a comment that is flushed at once');
  const events = text.slice(3).split('\r\n\r\n').slice(0, -1);
  return events.flatMap((event) => {
    assert(event.startsWith('data: '), event);
    return records(event.slice('data: '.length));
  });
}

function collect(stream: IncomingMessage): { text(): string; until(recordCount: number): Promise<unknown> } {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  const count = () => text.split(recordSeparator).length - 1;
  return {
    text: () => text,
    until: (recordCount) =>
      until(() => count() >= recordCount && text.endsWith('\r\n\r\n'), { what: `${recordCount} records in: ${text}` }),
  };
}
