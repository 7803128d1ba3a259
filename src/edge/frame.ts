// WebSocket frames as a server writes them: unmasked, in one piece (RFC 6455, 5.2). Made by ourselves because one frame
// is prepared once and written to every member of a room, which no public interface of `ws` offers.
//
//     0x81 text, 0x82 binary | length < 126: 1 byte; < 65536: 126 and 2 bytes; else 127 and 8 bytes | body

/** A whole text message in one frame. */
export function textFrame(text: string | Buffer): Buffer {
  const { frame, header } = emptyFrame(0x81, Buffer.byteLength(text));
  if (typeof text === 'string') frame.write(text, header);
  else text.copy(frame, header);
  return frame;
}

/** A whole binary message in one frame. */
export function binaryFrame(body: Buffer): Buffer {
  const { frame, header } = emptyFrame(0x82, body.length);
  body.copy(frame, header);
  return frame;
}

/** The body of such a frame; not a copy. */
export function frameBody(frame: Buffer): Buffer {
  const length = frame[1]!;
  return frame.subarray(length < 126 ? 2 : length === 126 ? 4 : 10);
}

function emptyFrame(opcode: number, length: number): { frame: Buffer; header: number } {
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(header + length);
  frame[0] = opcode;
  if (header === 2) {
    frame[1] = length;
  } else if (header === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  return { frame, header };
}
