// Bodies of calls: in comes a request, out come its bytes within the limit, and their text.

import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { BodyFault } from '../contract/contract.ts';

/** The body is larger than the limit. */
export class TooLarge extends Error {}

/**
 * @param limit bytes
 * @param take told of each part's bytes as it comes; what it throws ends the reading
 * @throws TooLarge as soon as the limit is passed; what follows is left unread
 */
export function readRequestBody(
  request: IncomingMessage,
  limit: number,
  take: (bytes: number) => void,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      try {
        if (length > limit) throw new TooLarge();
        take(chunk.length);
      } catch (error) {
        request.off('data', onData);
        chunks.length = 0;
        reject(error);
      }
    };
    request.on('data', onData);
    request.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    request.once('error', reject);
    request.once('close', () => {
      // Every request closes; an error that nobody gets costs as much as the parsing of a body.
      if (!request.complete) reject(new Error('the backend broke the connection off'));
    });
  });
}

/** @throws BodyFault where the bytes are not UTF-8 */
export function decodeBody(body: Buffer): string {
  if (!isUtf8(body)) throw new BodyFault({ $: ['The body is not UTF-8.'], evt: ['The evt field is required.'] });
  return body.toString('utf8');
}

/** The media types that the bridge reads as JSON: `application/json`, `text/json`, `application/*+json`, in UTF-8. */
export function isJson(contentType: string | undefined): boolean {
  const [type = '', ...parameters] = (contentType ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  if (!/^(application|text)\/json$|^application\/[^\s]+\+json$/.test(type)) return false;
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length);
  return charset === undefined || charset.replaceAll('"', '') === 'utf-8';
}
