// The demo as a visitor sees it, in a real Chromium: what is typed in one client shows in the other, and the slider moves
// rooms between the lanes under both clients while the backend is at work.
// CROSSFADE_SCREENSHOT=<file.png> keeps a picture of the page with both lanes at work.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { binary, programs } from '../e2e/sidecar.ts';
import { apiKey } from '../support/bridge.ts';
import { openPage } from '../support/browser.ts';
import { type Running, type StartOptions, spawnCrossfade } from '../support/process.ts';
import { until } from '../support/wait.ts';

/** Longer than the guard takes for its three readings, on a busy machine. */
const moveMs = 15_000;

interface Demo {
  process: Running;
  url: string;
  page: Page;
  ada: Locator;
  ben: Locator;
}

async function openDemo(t: TestContext, options: StartOptions): Promise<Demo> {
  const process = spawnCrossfade(t, ['demo', '--port', '0'], {}, options);
  const url = await until(() => /open\s+(http:\S+)/.exec(process.stdout)?.[1], {
    what: () => process.stderr,
    timeoutMs: 15_000,
  });
  const page = await openPage(t, url);
  const [ada, ben] = [page.locator('section[data-user=ada]'), page.locator('section[data-user=ben]')];
  for (const client of [ada, ben]) await client.getByText('connected', { exact: true }).waitFor();
  return { process, url, page, ada, ben };
}

async function say(client: Locator, words: string): Promise<void> {
  await client.getByRole('textbox').fill(words);
  await client.getByRole('button').click();
}

async function count(client: Locator, name: string): Promise<number> {
  return Number(await client.locator(`[data-count=${name}]`).textContent());
}

/** How much was sent, once nothing has come on top of it for longer than a call and the page's own clock take. */
async function countWhenQuiet(client: Locator): Promise<number> {
  let [last, changedAt] = [-1, 0];
  const isQuiet = async () => {
    const sent = await count(client, 'sent');
    if (sent !== last) [last, changedAt] = [sent, performance.now()];
    return performance.now() - changedAt > 1_000;
  };
  await until(isQuiet, { what: () => `${last} to stay` });
  return last;
}

/** The lanes of each room's newest message, in the order of the slider; only what both clients have. */
function newestLanes(page: Page): Promise<string[]> {
  const newest = page.locator('.room:not(.typed) > .mark:has(.got + .got):nth-child(1 of :has(.got + .got))');
  return newest.evaluateAll((marks) => marks.map((mark) => mark.className.replace('mark ', '')));
}

/** Everything that was sent has come, once and in order, on connections that have never ended. */
async function assertNothingAmiss(client: Locator, sentAtLeast: number): Promise<void> {
  let seen: number[] = [];
  await until(
    async () => {
      seen = [await count(client, 'sent'), await count(client, 'received')];
      return seen[0]! >= sentAtLeast && seen[1] === seen[0];
    },
    { what: () => `${sentAtLeast} messages sent, and as many received; it is ${seen.join(' and ')}` },
  );
  for (const name of ['lost', 'doubled', 'outOfOrder', 'reconnects']) assert.equal(await count(client, name), 0, name);
}

for (const { name, options } of programs) {
  test(`${name} serves the demo: a message and typing of one client show in the other`, async (t) => {
    const { process, ada, ben } = await openDemo(t, options);
    await ada.getByRole('textbox').pressSequentially('Hello Ben, can you see this?');
    await ben.getByText('ada is typing…').waitFor();
    await ada.getByRole('button').click();
    await ben.getByText('Hello Ben, can you see this?').waitFor();
    await say(ben, 'Yes, at once.');
    for (const client of [ada, ben]) await client.getByText('Yes, at once.').waitFor();
    await until(async () => (await ben.locator('.typing').textContent()) === '', { what: 'typing to end' });
    assert.equal(await ben.getByRole('listitem').count(), 2, 'each message once');

    const command = /curl[\s\S]*?(?=\n\n)/.exec(process.stdout)![0];
    const [, url] = /POST (\S+)/.exec(command)!;
    const [, body] = /-d '(.*)'/.exec(command)!;
    const key = /X-Internal-Api-Key: ([^']+)'/.exec(command)![1]!;
    assert.notEqual(key, apiKey);
    const headers = { 'content-type': 'application/json', 'x-internal-api-key': key };
    const repeat = () => fetch(url!, { method: 'POST', headers, body: body! }).then((response) => response.json());
    assert.deepEqual(await repeat(), { broadcast: true });
    await ada.getByText('Hello from curl').waitFor();
    assert.deepEqual(await repeat(), { duplicate: true });
    assert.deepEqual(await process.stop(), { code: 0, signal: null });
  });
}

test('the binary moves rooms between the lanes under the demo’s clients, by the slider and by a rollback', async (t) => {
  const { process, page, ada, ben } = await openDemo(t, binary);
  const slider = page.getByRole('slider', { name: 'Rooms on the stream lane' });
  const status = page.getByRole('status');
  await until(async () => (await newestLanes(page)).length === 9, {
    what: 'a message in every room',
    timeoutMs: moveMs,
  });
  assert.equal(await page.locator('.field .mark.stream').count(), 0);

  await slider.fill('57');
  await status.getByText('Checking that no client is left out…').waitFor();
  await status.getByText('57% by stream').waitFor({ timeout: moveMs });
  const half = [...Array(5).fill('stream'), ...Array(4).fill('bridge')];
  await until(async () => (await newestLanes(page)).join() === half.join(), { what: () => 'both lanes at 57' });
  await say(ada, 'Hello Ben, can you see this?');
  await ben.getByText('ada · stream lane').waitFor();
  const picture = globalThis.process.env.CROSSFADE_SCREENSHOT;
  if (picture !== undefined) await takePicture(page, ben, picture);

  await slider.press('End');
  await status.getByText('100% by stream').waitFor({ timeout: moveMs });
  await until(async () => new Set(await newestLanes(page)).size === 1, { what: 'all rooms by stream' });

  await page.getByRole('button', { name: 'Roll back' }).click();
  await status.getByText('Rolled back').waitFor();
  assert.equal(await slider.inputValue(), '0');
  await until(async () => (await newestLanes(page)).every((lane) => lane === 'bridge'), {
    what: 'all by the bridge',
  });
  await say(ben, 'And this?');
  await ada.getByText('ben · bridge lane').waitFor();
  for (const client of [ada, ben]) await assertNothingAmiss(client, 50);
  assert.deepEqual(await process.stop(), { code: 0, signal: null });
});

async function takePicture(page: Page, ben: Locator, path: string): Promise<void> {
  await say(ben, 'Yes, at once.');
  await ben.getByText('ben · stream lane').waitFor();
  const marks = page.locator('.room:last-child .mark');
  await until(async () => (await marks.count()) >= 12, { what: 'a full picture', timeoutMs: 60_000 });
  await page.screenshot({ path, fullPage: true });
}

test('the demo’s guard refuses to raise the percent while a client goes past crossfade, and says why', async (t) => {
  const { page } = await openDemo(t, {});
  const stranger = page.locator('#stranger');
  const status = page.getByRole('status');
  await stranger.click();
  await page.locator('#stranger[aria-pressed=true]').waitFor();
  await page.getByRole('button', { name: '25%', exact: true }).click();
  await status.getByText(/Stays at 0%: 1 client is connected to the bridge directly/).waitFor({ timeout: moveMs });
  assert.equal(await page.getByRole('slider').inputValue(), '0');
  await stranger.click();
  await page.locator('#stranger[aria-pressed=false]').waitFor();
  await status.getByText('eve has gone, try again').waitFor();
  await page.getByRole('button', { name: '25%', exact: true }).click();
  await status.getByText('25% by stream').waitFor({ timeout: moveMs });
});

test('the demo’s page shows what was changed from a terminal, and the backend can be paused', async (t) => {
  const { process, page, ada } = await openDemo(t, {});
  const admin = /admin\s+(http:\S+)/.exec(process.stdout)![1]!;
  const command = spawnCrossfade(t, ['cutover', 'set', '30', '--admin', admin], { CROSSFADE_ADMIN_TOKEN: '' });
  assert.equal((await command.exited).code, 0, command.stderr);
  await page
    .getByRole('status')
    .getByText(/30% by stream, since .* said “set 30”/)
    .waitFor();

  await page.getByRole('button', { name: 'Pause the backend' }).click();
  await page.locator('#pause[aria-pressed=true]').waitFor();
  const sent = await countWhenQuiet(ada);
  await say(ada, 'Quiet here');
  await assertNothingAmiss(ada, sent + 1);
  assert.equal(await countWhenQuiet(ada), sent + 1);
});

test('only the demo’s own page is answered: no other origin and no other name of the host', async (t) => {
  const { url } = await openDemo(t, {});
  const put = (headers: Record<string, string>) =>
    fetch(`${url}/cutover`, { method: 'PUT', headers, body: '{"percent":10}' }).then(({ status }) => status);
  assert.equal(await put({}), 403);
  assert.equal(await put({ origin: 'https://elsewhere.example' }), 403);
  assert.equal((await fetch(`${url}/events`, { headers: { origin: 'null' } })).status, 403);
  const byName = await fetch(url.replace('127.0.0.1', 'localhost'), { redirect: 'manual' });
  assert.deepEqual([byName.status, byName.headers.get('location')], [307, url]);
});
