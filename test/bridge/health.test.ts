// Whether the bridge is there: what counts as an answer, how soon its absence is noticed, and what is said of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BridgeAddress } from '../../src/bridge/addresses.ts';
import { BridgeHealth } from '../../src/bridge/health.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

type Answer = number | Error;

const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
const timeout = new DOMException('The operation was aborted due to timeout', 'TimeoutError');

/** @param answers what each address says, by its port */
async function setUp(answers: Record<string, Answer>) {
  const clock = new TestClock();
  const { logger, lines } = logLines();
  const passedOver: string[] = [];
  const all = Object.keys(answers).map(
    (port) =>
      ({
        key: `http://user:secret@b:${port}/ 10.0.0.1`,
        origin: `http://10.0.0.1:${port}`,
        basePath: '',
      }) as BridgeAddress,
  );
  const addresses = { all, reachable: true, refused: ({ origin }: BridgeAddress) => void passedOver.push(origin) };
  const portOf = ({ origin }: BridgeAddress) => origin.split(':').at(-1)!;
  const ask = async (address: BridgeAddress) => {
    const answer = answers[portOf(address)]!;
    if (typeof answer === 'number') return answer;
    throw answer;
  };
  const health = new BridgeHealth({ addresses, clock, logger, ask });
  await health.begun;
  const pass = async (ms: number) => {
    clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const said = () => lines.splice(0).map(({ level, msg, bridge, detail }) => `${level}: ${msg} (${bridge}, ${detail})`);
  return { health, answers, addresses, passedOver, pass, said };
}

test('a bridge that has never answered is not there, and one that has is', async () => {
  const { health, answers, pass, said } = await setUp({ 5000: refused });
  assert.equal(health.reachable, false);
  assert.deepEqual(said(), ['warn: the bridge does not answer (http://10.0.0.1:5000, ECONNREFUSED)']);
  answers[5000] = 200;
  await pass(2_000);
  assert.equal(health.reachable, true);
  assert.deepEqual(said(), ['info: the bridge is back (http://10.0.0.1:5000, answers 200)']);
  assert.deepEqual(health.states, [{ bridge: 'http://10.0.0.1:5000', reachable: true, detail: 'answers 200' }]);
  health.close();
});

test('one that refuses is gone at once, said once, and passed over', async () => {
  const { health, answers, passedOver, pass, said } = await setUp({ 5000: 200 });
  assert.deepEqual(said(), ['info: the bridge answers (http://10.0.0.1:5000, answers 200)']);
  answers[5000] = refused;
  await pass(2_000);
  await pass(2_000);
  assert.equal(health.reachable, false);
  assert.deepEqual(said(), ['warn: the bridge is gone (http://10.0.0.1:5000, ECONNREFUSED)']);
  assert.deepEqual(passedOver, ['http://10.0.0.1:5000', 'http://10.0.0.1:5000']);
  health.close();
});

test('one that hangs is gone after its second silence; one slow answer is none', async () => {
  const { health, answers, pass } = await setUp({ 5000: 200 });
  for (const [answer, reachable] of [
    [timeout, true],
    [200, true],
    [timeout, true],
    [timeout, false],
    [200, true],
  ] as const) {
    answers[5000] = answer;
    await pass(2_000);
    assert.equal(health.reachable, reachable);
  }
  health.close();
});

test('what a proxy says in the place of a bridge that is gone is no answer of it; that it knows no /health is', async () => {
  for (const [status, reachable] of [
    [404, true],
    [401, true],
    [502, false],
    [503, false],
  ] as const) {
    const { health } = await setUp({ 5000: status });
    assert.equal(health.reachable, reachable, String(status));
    health.close();
  }
});

test('of several bridges one that answers is enough, unless whoever calls it has been refused just now', async () => {
  const { health, addresses } = await setUp({ 5000: refused, 5001: 200 });
  assert.equal(health.reachable, true);
  addresses.reachable = false;
  assert.equal(health.reachable, false);
  health.close();
});
