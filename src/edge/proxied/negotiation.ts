// Reads what the bridge answers to a negotiate, and writes a tag into it: in comes the body, out go the token that later requests will
// bring, and the body with the tag in front of that, not a byte else changed. Source: TransportProtocols.md, "POST [endpoint-base]/negotiate".

/** No negotiation is as long. */
export const maxNegotiationBytes = 1024 * 1024;

/** @returns undefined for an error, a redirection, or what is no negotiation at all */
export function tokenIn(body: Buffer): string | undefined {
  const negotiation = negotiationIn(body.toString());
  const token = negotiation[addressedBy(negotiation)];
  return typeof token === 'string' ? token : undefined;
}

/** @returns undefined where there is no token to write it into */
export function withTaggedToken(body: Buffer, tag: string): Buffer | undefined {
  const text = body.toString();
  const negotiation = negotiationIn(text);
  const name = addressedBy(negotiation);
  if (typeof negotiation[name] !== 'string') return undefined;
  const tagged = text.replace(new RegExp(`("${name}"\\s*:\\s*")`), `$1${tag}`);
  return negotiationIn(tagged)[name] === tag + negotiation[name] ? Buffer.from(tagged) : undefined;
}

interface Negotiation {
  connectionToken?: unknown;
  connectionId?: unknown;
}

/** In version 0 the connection's id addresses it. Clients of that version do not show it to anybody, so that it may have a tag. */
function addressedBy({ connectionToken }: Negotiation): keyof Negotiation {
  return connectionToken === undefined ? 'connectionId' : 'connectionToken';
}

function negotiationIn(text: string): Negotiation {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
