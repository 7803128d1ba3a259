// Reads what the bridge answers to a negotiate, and writes a tag into it: in comes the body, out go the token that later requests will
// bring, and the body with the tag in front of that, not a byte else changed. Source: TransportProtocols.md, "POST [endpoint-base]/negotiate".

/** No negotiation is as long. */
export const maxNegotiationBytes = 1024 * 1024;

/** @returns undefined for an error, a redirection, or what is no negotiation at all */
export function tokenIn(body: Buffer): string | undefined {
  const { connectionToken, connectionId } = negotiationIn(body.toString());
  // In version 0 the connection's id addresses it.
  const token = connectionToken ?? connectionId;
  return typeof token === 'string' ? token : undefined;
}

/**
 * @returns undefined where there is no token to write it into; so it is in version 0, where the token is the id that the hub knows its
 * client by
 */
export function withTaggedToken(body: Buffer, tag: string): Buffer | undefined {
  const text = body.toString();
  const { connectionToken } = negotiationIn(text);
  if (typeof connectionToken !== 'string') return undefined;
  const tagged = text.replace(/("connectionToken"\s*:\s*")/, `$1${tag}`);
  return negotiationIn(tagged).connectionToken === tag + connectionToken ? Buffer.from(tagged) : undefined;
}

function negotiationIn(text: string): { connectionToken?: unknown; connectionId?: unknown } {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
