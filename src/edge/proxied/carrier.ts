// A proxied connection as the proxied hubs hold it, whichever transport carries it: what they need to close it.

export interface Carrier {
  /** Ends both sides as the protocol has it, with the word that the client may come back. */
  closeForReconnect(): void;
  /** Ends both sides at once; the client comes back if it reconnects at all. */
  cut(): void;
}
