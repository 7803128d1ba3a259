// Prepared frames, read by the receiver of `ws`, in all three forms of the length.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ws from 'ws';
import { textFrame } from '../../src/edge/frame.ts';

/** Exported by `ws`, but missing in its types. */
const { Receiver } = ws as unknown as {
  Receiver: new (options: {
    isServer: boolean;
  }) => NodeJS.WritableStream & {
    once(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): void;
  };
};

test('a text of any length is one frame that a client reads back', async () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
    const text = 'é'.repeat(length >> 1) + 'x'.repeat(length % 2);
    const receiver = new Receiver({ isServer: false });
    const read = new Promise<string>((resolve) => {
      receiver.once('message', (data, isBinary) => resolve(isBinary ? 'binary' : data.toString()));
    });
    receiver.write(textFrame(text));
    assert.equal(await read, text);
  }
});
