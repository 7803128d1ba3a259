// Connections between replicas: who gets one, and what somebody who is no replica learns by asking for one, or by being asked.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { dialPeer, PeerUnreachable } from '../../src/peers/peer-connection.ts';
import { PeerSignature } from '../../src/peers/peer-signature.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';
import { startAccepting } from './accepting.ts';

const secret = 'what all replicas have in common';

function signatureOf(given: string | undefined) {
  return new PeerSignature({ instance: 'asker', secret: given, clock: systemClock });
}

/** A replica named `here` that sends everything back. */
async function startEcho(t: TestContext, given: string | undefined = secret) {
  const taken: Socket[] = [];
  const take = (socket: Socket) => void taken.push(socket.pipe(socket));
  return { taken, ...(await startAccepting(t, 'here', { ...(given && { secret: given }), take })) };
}

/** A server of somebody's own. */
async function startStranger(t: TestContext, serve: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    serve(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { instance: 'here', admin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function assertUnreachable(dialling: Promise<Socket>, why: RegExp): Promise<void> {
  await assert.rejects(dialling, (error: Error) => error instanceof PeerUnreachable && why.test(error.message));
}

for (const given of [secret, undefined]) {
  test(`two replicas ${given ? 'with a secret' : 'without any'} get a connection that carries what either sends`, async (t) => {
    const here = await startEcho(t, given ?? '');
    const socket = await dialPeer(here, signatureOf(given), systemClock);
    t.after(() => socket.destroy());
    socket.write('hello');
    const [echo] = await once(socket, 'data');
    assert.equal(String(echo), 'hello');
  });
}

test('who has another secret, or none, gets no connection', async (t) => {
  const here = await startEcho(t);
  for (const other of ['another', undefined]) {
    await assertUnreachable(dialPeer(here, signatureOf(other), systemClock), /401/);
  }
  assert.equal(here.taken.length, 0);
});

test('a proof is taken once', async (t) => {
  const here = await startEcho(t);
  const signed = signatureOf(secret).sign('/edge/connection', 'here', here.admin)!;
  const ask = async () => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(here.admin).port) });
    t.after(() => socket.destroy());
    socket.write(
      `GET /edge/connection HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: crossfade-edge\r\nx-crossfade-signature: ${signed}\r\n\r\n`,
    );
    const [answer] = await once(socket, 'data');
    return String(answer).split(' ')[1];
  };
  assert.deepEqual([await ask(), await ask()], ['101', '401']);
  assert.deepEqual(here.refusals, ['what claims to be another replica was not heard: it was said before']);
});

test('who stands at an address that the log names, and knows no secret, is sent nothing of a client', async (t) => {
  let got = '';
  const stranger = await startStranger(t, (socket) => {
    socket.on('data', (bytes) => {
      got += bytes;
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: crossfade-edge\r\n\r\n');
    });
  });
  await assertUnreachable(dialPeer(stranger, signatureOf(secret), systemClock), /not this replica/);
  assert.match(got, /^GET \/edge\/connection HTTP\/1\.1\r\n/);
  assert.equal(got.indexOf('\r\n\r\n'), got.length - 4, 'nothing but the question');
});

test('who passes the proof on to the replica that it names gets no connection either: it was meant for another address', async (t) => {
  const here = await startEcho(t);
  const between = await startStranger(t, (socket) => {
    const onward = connect({ host: '127.0.0.1', port: Number(new URL(here.admin).port) }).on('error', () => {});
    socket.pipe(onward).pipe(socket);
  });
  await assertUnreachable(dialPeer(between, signatureOf(secret), systemClock), /401/);
  assert.deepEqual(here.refusals, [
    'what claims to be another replica was not heard: it was meant for another address',
  ]);
  assert.equal(here.taken.length, 0);
});

test('a replica that does not answer is given up after 5 s, one that is not there at once', async (t) => {
  const asked: Socket[] = [];
  const silent = await startStranger(t, (socket) => asked.push(socket));
  const clock = new TestClock();
  const dialling = dialPeer(silent, signatureOf(secret), clock);
  const given = assertUnreachable(dialling, /no answer within 5000 ms/);
  await until(() => asked.length === 1);
  clock.advance(5_000);
  await given;
  const gone = { instance: 'gone', admin: 'http://127.0.0.1:1' };
  await assertUnreachable(dialPeer(gone, signatureOf(secret), systemClock), /ECONNREFUSED/);
});
