// How replicas know each other by HTTP: in comes what one says to another, out goes a signature, and the reverse.
// Promises: no secret travels (an address of a peer comes from Redis, and may be anybody's); a word counts for whom it was
// said to, as it was said, once, and within 30 s.

import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { CrossfadeError } from '../errors.ts';
import { keepNewest } from '../keep-newest.ts';
import { isSecret } from '../secret.ts';
import type { Clock } from '../telemetry/clock.ts';

export const signatureHeader = 'x-crossfade-signature';
/** Whom a word is for: an address on loopback means another replica on every host. */
export const addresseeHeader = 'x-crossfade-instance';
/** The hosts' clocks may differ by so much, and a word may be on its way for what is left. */
const windowMs = 30_000;
/** Words that were taken; each is only kept within its window. More than this within one come from a peer that runs wild. */
const maxTaken = 100_000;
const form = /^t=(\d{1,16}),n=([\w-]{16}),b=([\w-]{43}),s=([\w-]{43})$/;

export interface PeerSignatureOptions {
  /** This replica's name. */
  instance: string;
  /** What all replicas have in common and nobody else knows; undefined: nothing is signed and nothing is asked for. */
  secret: string | undefined;
  clock: Clock;
}

export class PeerSignature {
  readonly #instance: string;
  readonly #key: Buffer | undefined;
  readonly #clock: Clock;
  /** Nonces of words that were taken here. */
  readonly #taken = new Map<string, number>();

  constructor({ instance, secret, clock }: PeerSignatureOptions) {
    this.#instance = instance;
    this.#clock = clock;
    // Not the secret itself: what is signed with it elsewhere must mean nothing here.
    this.#key = secret === undefined ? undefined : Buffer.from(hkdfSync('sha256', secret, '', 'crossfade peers', 32));
  }

  /** Whether a word needs a signature. */
  get isRequired(): boolean {
    return this.#key !== undefined;
  }

  /** The header's value for one word: the same word, said again, is signed anew. */
  sign(path: string, addressee: string, body: string): string | undefined {
    if (this.#key === undefined) return undefined;
    const [time, nonce, digest] = [String(this.#clock.now()), randomBytes(12).toString('base64url'), digestOf(body)];
    const signature = mac(this.#key, path, addressee, time, nonce, digest).toString('base64url');
    return `t=${time},n=${nonce},b=${digest},s=${signature}`;
  }

  /**
   * Judges a word before its body is read.
   * @returns whether the body is the one that was signed
   * Error: PEER_UNSIGNED.
   */
  check(path: string, header: string | undefined): (body: Buffer) => boolean {
    if (this.#key === undefined) return () => true;
    const [, time, nonce, digest, signature] = form.exec(header ?? '') ?? [];
    if (time === undefined || nonce === undefined) throw unsigned('it carries no signature');
    const expected = mac(this.#key, path, this.#instance, time, nonce, digest!);
    const given = Buffer.from(signature!, 'base64url');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw unsigned('the signature is wrong');
    const ageMs = this.#clock.now() - Number(time);
    if (Math.abs(ageMs) > windowMs) throw unsigned(`it was signed ${Math.round(ageMs / 1000)} s ago by our clock`);
    if (!this.#take(nonce, Number(time))) throw unsigned('it was said before');
    return (body) => digestOf(body) === digest;
  }

  /** The proof that a word was heard by whom it was meant for, who has checked it. @param signed the header's value of that word */
  answer(signed: string): string | undefined {
    return this.#key && mac(this.#key, 'answer', signed).toString('base64url');
  }

  isAnswer(signed: string, answer: string | undefined): boolean {
    return answer !== undefined && isSecret(answer, this.answer(signed) ?? '');
  }

  #take(nonce: string, time: number): boolean {
    if (this.#taken.has(nonce)) return false;
    for (const [known, until] of this.#taken) {
      if (until >= this.#clock.now()) break;
      this.#taken.delete(known);
    }
    this.#taken.set(nonce, time + windowMs);
    keepNewest(this.#taken, maxTaken);
    return true;
  }
}

export function unsigned(why: string): CrossfadeError {
  return new CrossfadeError('PEER_UNSIGNED', `what claims to be another replica was not heard: ${why}`);
}

function mac(key: Buffer, ...parts: string[]): Buffer {
  return createHmac('sha256', key)
    .update(JSON.stringify(['POST', ...parts]))
    .digest();
}

function digestOf(body: string | Buffer): string {
  return createHash('sha256').update(body).digest('base64url');
}
