// WebSocket frames as a server writes them: unmasked, in one piece (RFC 6455, 5.2). Made by ourselves because one frame
// is prepared once and written to every member of a room, which no public interface of `ws` offers.

/**
 * A whole text message in one frame:
 *
 *     0x81 | length < 126: 1 byte; < 65536: 126 and 2 bytes; else 127 and 8 bytes | UTF-8 text
 */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(header + length);
  frame[0] = 0x81;
  if (header === 2) {
    frame[1] = length;
  } else if (header === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(text, header);
  return frame;
}
