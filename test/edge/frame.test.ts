// Prepared frames, read by the receiver of `ws`, in all three forms of the length.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ws from 'ws';
import { binaryFrame, frameBody, textFrame } from '../../src/edge/frame.ts';

/** Exported by `ws`, but missing in its types. */
const { Receiver } = ws as unknown as {
  Receiver: new (options: {
    isServer: boolean;
  }) => NodeJS.WritableStream & {
    once(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): void;
  };
};

const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000];

function read(frame: Buffer): Promise<{ data: Buffer; isBinary: boolean }> {
  const receiver = new Receiver({ isServer: false });
  return new Promise((resolve) => {
    receiver.once('message', (data, isBinary) => resolve({ data, isBinary }));
    receiver.write(frame);
  });
}

test('a text of any length is one frame that a client reads back', async () => {
  for (const length of lengths) {
    const text = 'é'.repeat(length >> 1) + 'x'.repeat(length % 2);
    const { data, isBinary } = await read(textFrame(text));
    assert.equal(isBinary, false);
    assert.equal(data.toString(), text);
    assert.equal(frameBody(textFrame(text)).toString(), text);
  }
});

test('so are bytes of any length', async () => {
  for (const length of lengths) {
    const body = Buffer.alloc(length, 0xe9);
    const { data, isBinary } = await read(binaryFrame(body));
    assert.equal(isBinary, true);
    assert.deepEqual(data, body);
    assert.deepEqual(frameBody(binaryFrame(body)), body);
  }
});
