// Plays the recording of the real bridge against whatever should behave like it, one subtest a case, in its order.
// In come the addresses and secrets of a target; out go subtests that compare answers and, per client, hub records.
// Promises that nothing extra passes either: each case's records are all that came, and at the end nothing follows.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { comparableAnswer, comparableRecord } from './recording-compare.ts';
import { type HttpAnswer, HttpClient } from './recording-http.ts';
import { playLongPolling, playServerSentEvents, type Step } from './recording-transports.ts';
import { makeToken, openRaw, type RawClient, recordSeparator } from './signalr.ts';
import { until } from './wait.ts';

/** What the recording is played against: a fresh server that has seen no call and no client yet. */
export interface Target {
  /** Where `/health` and `/internal/*` are, such as `http://127.0.0.1:7400`. */
  httpUrl: string;
  /** Where `/hubs/*` is. CORS must allow `http://localhost:3010`. */
  hubsUrl: string;
  apiKey: string;
  jwtSecret: string;
  /** Offers clients to renew their access tokens, which the recorded bridge did not: negotiate says so, in one number more. */
  offersRefresh?: boolean;
  /** Cases, by their names, in which the target is meant to differ. */
  except?: string[];
  /** Cases, by their names; all without it. */
  only?: RegExp;
}

type Frame = string | { close: number; reason: string } | HttpAnswer;

interface Case {
  name: string;
  request?: { method: string; path: string; headers: Record<string, string>; body: string | null };
  response?: HttpAnswer;
  /** Such as `chat:u1`; without it, what is `sent` is the handshake of a new connection. */
  client?: string;
  sent?: object | string;
  /** Of an upgrade. */
  path?: string;
  frames?: Record<string, Frame[]>;
  transcript?: Step[];
}

const recordingFile = new URL('../fixtures/bridge-recording.json', import.meta.url);
/** For what comes late although nothing should come; waited for once. */
const settleMs = 300;
const stranger = 'client';

export async function playRecording(t: TestContext, target: Target): Promise<void> {
  const { cases } = JSON.parse(readFileSync(recordingFile, 'utf8')) as { cases: Case[] };
  const player = new Player(t, target);
  for (const one of cases.filter(({ name }) => target.only?.test(name) ?? true)) {
    await t.test(one.name, { skip: player.reasonToSkip(one) }, () => player.play(one));
  }
  await t.test('nothing more comes to any client', () => player.expectNothingMore());
}

/** A client of the recording and how many of its records have been compared. */
interface Seat {
  client: RawClient;
  compared: number;
}

class Player {
  readonly #t: TestContext;
  readonly #target: Target;
  readonly #http = new HttpClient();
  readonly #seats = new Map<string, Seat>();

  constructor(t: TestContext, target: Target) {
    this.#t = t;
    this.#target = target;
    t.after(() => this.#http.close());
  }

  reasonToSkip({ name }: Case): string | false {
    return this.#target.except?.includes(name) ? 'the target is meant to differ here' : false;
  }

  async play(one: Case): Promise<void> {
    if (one.transcript) return this.#playTranscript(one.name, one.transcript);
    if (one.name.startsWith('upgrade ')) return this.#playUpgrade(one);
    if (one.request) await this.#playRequest(one);
    else if (one.client) await this.#playRecord(this.#seat(one.client), one.sent!);
    else if (one.sent) await this.#playHandshake(one.sent as string);
    else await this.#playUnwritten(one);
    await this.#expectFrames(one.frames ?? {});
  }

  async expectNothingMore(): Promise<void> {
    await sleep(settleMs);
    for (const [name, seat] of this.#seats) this.#expectRest(name, seat, []);
  }

  async #playRequest({ request, response }: Case): Promise<void> {
    const { method, path, headers, body } = request!;
    const isHub = path.startsWith('/hubs/');
    const url = (isHub ? this.#target.hubsUrl : this.#target.httpUrl) + (await this.#fill(path));
    const filled = Object.entries(headers).map(async ([name, value]) => [name, await this.#fill(value)]);
    const answer = await this.#http.send(method, url, Object.fromEntries(await Promise.all(filled)), fillBody(body));
    this.#compare(answer, response!);
  }

  #playRecord({ client }: Seat, sent: object | string): void {
    client.send((typeof sent === 'string' ? sent : JSON.stringify(sent)) + recordSeparator);
  }

  /** A connection of its own; where the recorder left by itself in the end (1006), so do we. */
  async #playHandshake(sent: string): Promise<void> {
    const client = await this.#sit(stranger, '/hubs/chat', await this.#token('sub=u1'));
    client.send(sent + recordSeparator);
    await until(() => client.records.length > 0, { what: 'an answer to the handshake' });
    if (client.records[0] === '{}') client.socket.terminate();
  }

  /** What the recording does not write down: the steps of these cases are in their names. */
  async #playUnwritten({ name, frames }: Case): Promise<void> {
    switch (name) {
      case 'on connect':
        for (const client of Object.keys(frames!)) await this.#joinAs(client);
        return;
      case 'three records in one frame':
        return this.#seat('chat:u1').client.send(threeRecords);
      case 'participant vanished':
        return this.#seat('remote:u2').client.socket.terminate();
      case 'record over 1 MiB':
        return this.#playRecord(this.#seat('chat:u2'), {
          type: 1,
          target: 'JoinRoom',
          arguments: ['x'.repeat(2 ** 20)],
        });
      default:
        throw new Error(`the player does not know how to play "${name}"`);
    }
  }

  async #joinAs(name: string): Promise<void> {
    const [hub, user] = name.split(':');
    const path = `/hubs/${hub === 'remote' ? 'remote-access' : hub}`;
    const bearer = { authorization: `Bearer ${await this.#token(`sub=${user}`)}` };
    const url = `${this.#target.hubsUrl}${path}/negotiate?negotiateVersion=1`;
    const { connectionToken } = JSON.parse((await this.#http.send('POST', url, bearer, undefined)).body);
    const client = await this.#sit(name, `${path}?id=${connectionToken}`, await this.#token(`sub=${user}`));
    client.shakeHands();
  }

  async #sit(name: string, path: string, token: string): Promise<RawClient> {
    const client = await openRaw(this.#t, this.#target.hubsUrl + path, token);
    this.#seats.set(name, { client, compared: 0 });
    return client;
  }

  async #playUpgrade({ path, frames }: Case): Promise<void> {
    const filled = await this.#fill(path!);
    const expected = frames![stranger]!;
    const [first] = expected;
    if (typeof first === 'object' && 'status' in first) {
      this.#compare(await this.#http.upgrade(this.#target.hubsUrl + filled), first);
      return;
    }
    const client = await this.#sit(stranger, filled, '');
    client.shakeHands();
    await this.#expectFrames(frames!);
  }

  async #playTranscript(name: string, transcript: Step[]): Promise<void> {
    const stage = {
      http: this.#http,
      hubsUrl: this.#target.hubsUrl,
      bearer: { authorization: `Bearer ${await this.#token('sub=u1')}` },
      compare: (answer: HttpAnswer, expected: HttpAnswer) => this.#compare(answer, expected),
      callTyping: () => this.#callTyping(),
    };
    const play = name.includes('long polling') ? playLongPolling : playServerSentEvents;
    await play(stage, transcript);
  }

  /** The call that the transcripts show only by what it delivers. */
  async #callTyping(): Promise<void> {
    const headers = { 'content-type': 'application/json', 'x-internal-api-key': this.#target.apiKey };
    const body = { event_id: '', request_id: 'sse-room', user_id: 'u9', is_typing: true };
    const url = `${this.#target.httpUrl}/internal/chat/typing`;
    const answer = await this.#http.send('POST', url, headers, JSON.stringify(body));
    assert.equal(answer.status, 200);
  }

  async #expectFrames(frames: Record<string, Frame[]>): Promise<void> {
    for (const [name, seat] of this.#seats) {
      const expected = (frames[name] ?? []).flatMap(toLines);
      const count = seat.compared + expected.length;
      // On a timeout the comparison below says better what is missing.
      await until(() => lines(seat.client).length >= count || seat.client.closed).catch(() => {});
      this.#expectRest(name, seat, expected);
    }
  }

  #expectRest(name: string, seat: Seat, expected: string[]): void {
    const rest = lines(seat.client).slice(seat.compared);
    seat.compared += rest.length;
    assert.deepEqual(rest, expected, `what ${name} received`);
  }

  #compare(actual: HttpAnswer, expected: HttpAnswer): void {
    const { offersRefresh = false } = this.#target;
    assert.deepEqual(comparableAnswer(actual, { offersRefresh }), comparableAnswer(expected));
  }

  #seat(name: string): Seat {
    const seat = this.#seats.get(name);
    assert(seat, `${name} is not connected`);
    return seat;
  }

  /** Puts the target's secrets in place of `{{key}}` and `{{token …}}`. */
  async #fill(text: string): Promise<string> {
    const withKey = text.replace('{{key}}', this.#target.apiKey);
    const [whole, claims] = /\{\{token (.+?)\}\}/.exec(withKey) ?? [];
    return whole === undefined ? withKey : withKey.replace(whole, await this.#token(claims!));
  }

  /** @param words such as `sub=u1 expired by 4000 s` */
  #token(words: string): Promise<string> {
    const [, sub] = /sub=(\w+)/.exec(words) ?? [];
    const [, agoSeconds] = /expired by (\d+) s/.exec(words) ?? [];
    const expiry = words.includes('without exp') ? { exp: undefined } : {};
    const expired = agoSeconds === undefined ? expiry : { exp: Math.floor(Date.now() / 1000) - Number(agoSeconds) };
    const secret = words.includes('another secret')
      ? 'another-secret-of-at-least-32-characters'
      : this.#target.jwtSecret;
    return makeToken({ ...(sub !== undefined && { sub }), ...expired }, secret);
  }
}

const threeRecords = [
  { type: 1, invocationId: '30', target: 'SetActiveChat', arguments: ['x'] },
  { type: 1, invocationId: '31', target: 'LeaveRoom', arguments: ['aaaaaaaa-0000-4000-8000-00000000000a'] },
  { type: 1, invocationId: '32', target: 'JoinRoom', arguments: ['r2'] },
]
  .map((message) => JSON.stringify(message) + recordSeparator)
  .join('');

/** A client's records, then its close if it has ended, each as a line to compare. */
function lines({ records, closed }: RawClient): string[] {
  const end = closed === undefined ? [] : [`close ${closed.code} ${closed.reason}`];
  return [...records.map(comparableRecord), ...end];
}

function toLines(frame: Frame): string[] {
  if (typeof frame === 'string') return frame.split(recordSeparator).filter(Boolean).map(comparableRecord);
  assert('close' in frame);
  return [`close ${frame.close} ${frame.reason}`];
}

/** The recording names its two large bodies instead of holding them. */
function fillBody(body: string | null): string | undefined {
  const [, characters] = /^\((\d+) characters\)$/.exec(body ?? '') ?? [];
  if (characters !== undefined) {
    const empty = '{"event_id":"too-large","request_id":"r","user_id":""}';
    return empty.replace('""}', `"${'x'.repeat(Number(characters) - empty.length)}"}`);
  }
  if (body !== '(2 MB)') return body ?? undefined;
  const message = { id: 'm1', requestId: 'nobody', content: 'x'.repeat(2_000_000), createdAt: 'now' };
  return JSON.stringify({ event_id: 'large', request_id: 'nobody', message });
}
