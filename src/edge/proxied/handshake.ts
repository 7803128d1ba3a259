// The handshake as it passes by: the client's record says which protocol will be spoken, the bridge's reply whether.
// Both are JSON with a separator, whatever follows. Source: HubProtocol.md ("HandshakeRequest Message").

import { recordLength } from '../hub-protocol/json.ts';
import { type HubProtocolName, Pieces } from '../hub-protocol/protocol.ts';

/** No handshake is as long; the bridge refuses one then. */
const maxRequestBytes = 32 * 1024;
const knownNames: HubProtocolName[] = ['json', 'messagepack'];

export class Handshake {
  readonly #request = new Pieces();
  #protocol: HubProtocolName | undefined;
  #asked = false;

  /** What the client has asked for; undefined before, and for a protocol that crossfade does not know. */
  get protocol(): HubProtocolName | undefined {
    return this.#protocol;
  }

  /** @returns what the client sent behind its handshake; undefined while that is not whole */
  fromClient(data: Buffer): Buffer | undefined {
    if (this.#asked) return data;
    this.#request.add(Buffer.from(data));
    // It may come byte by byte: what came before is not looked at anew for each.
    this.#asked = recordLength(data, 0) !== undefined || this.#request.bytes > maxRequestBytes;
    if (!this.#asked) return undefined;
    const bytes = this.#request.take();
    const length = recordLength(bytes, 0);
    if (length === undefined) return undefined;
    this.#protocol = protocolOf(bytes.subarray(0, length - 1));
    return bytes.subarray(length);
  }

  /**
   * @returns what the bridge's first bytes say, and how many of them the reply took; `missed` if they come from the
   * middle of a connection, or answer a handshake that did not pass here
   */
  readReply(data: Buffer): { said: 'accepted' | 'refused' | 'missed'; bytes: number } {
    const bytes = recordLength(data, 0) ?? data.length;
    const reply = objectIn(data.subarray(0, bytes - 1));
    if (reply !== undefined && 'error' in reply && !('type' in reply)) return { said: 'refused', bytes };
    const answersWhatPassed = this.#asked && reply !== undefined && !('type' in reply);
    return { said: answersWhatPassed ? 'accepted' : 'missed', bytes };
  }
}

/** The name is matched in any case. */
function protocolOf(request: Buffer): HubProtocolName | undefined {
  const name = objectIn(request)?.protocol;
  return typeof name === 'string' ? knownNames.find((known) => known === name.toLowerCase()) : undefined;
}

function objectIn(record: Buffer): { [name: string]: unknown } | undefined {
  try {
    const value = JSON.parse(record.toString());
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
