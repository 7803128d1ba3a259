// The hub protocols as native hubs speak them. In comes a client's handshake; out go messages out of its records, and bytes to send.

import * as json from '../hub-protocol/json.ts';
import { MessagePackSplitter, messagePack } from '../hub-protocol/messagepack.ts';
import type { ClientMessage, HubProtocolName, RecordSplitter } from '../hub-protocol/protocol.ts';

export interface HubProtocol {
  name: HubProtocolName;
  splitter(maxRecordBytes: number): RecordSplitter;
  /** @throws ProtocolFault */
  readMessage(record: Buffer): ClientMessage;
  ping: Buffer;
  /** @param args raw JSON texts */
  invocation(target: string, args: string[]): Buffer;
  completion(invocationId: string): Buffer;
  failedCompletion(invocationId: string, error: string): Buffer;
  close(options: { error?: string; allowReconnect?: boolean }): Buffer;
}

export const hubProtocols: Record<HubProtocolName, HubProtocol> = {
  json: {
    name: 'json',
    splitter: (maxRecordBytes) => new json.JsonSplitter(maxRecordBytes),
    readMessage: (record) => json.readMessage(record.toString()),
    ping: Buffer.from(json.ping),
    invocation: (target, args) => Buffer.from(json.invocation(target, args)),
    completion: (id) => Buffer.from(json.completion(id)),
    failedCompletion: (id, error) => Buffer.from(json.failedCompletion(id, error)),
    close: (options) => Buffer.from(json.close(options)),
  },
  messagepack: {
    ...messagePack,
    name: 'messagepack',
    splitter: (maxRecordBytes) => new MessagePackSplitter(maxRecordBytes),
  },
};

const latestVersion = 2;

/**
 * @param takesBinary whether the client's transport does
 * @returns the protocol of a handshake that is welcome, else the error text of the answer (ASP.NET's)
 */
export function agreeOnProtocol(request: string, takesBinary: boolean): HubProtocol | string {
  const asked = json.readHandshake(request);
  if (asked === undefined) return 'An unexpected error occurred during connection handshake.';
  const name = asked.protocol.toLowerCase();
  if (name !== 'json' && name !== 'messagepack') return `The protocol '${asked.protocol}' is not supported.`;
  if (asked.version > latestVersion) {
    return `The server does not support version ${asked.version} of the '${asked.protocol}' protocol.`;
  }
  if (name === 'messagepack' && !takesBinary) {
    return "Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format.";
  }
  return hubProtocols[name];
}
