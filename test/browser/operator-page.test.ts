// The operator's page in a real Chromium, in front of a running crossfade: numbers move under load, the slider moves rooms, a refused
// raise says why, a plan runs and is rolled back by its guards, the keyboard is enough, and without the token it only reads.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { command, messageOf, shownOf, stateOf } from '../e2e/operating.ts';
import { binary, join, patient, startSidecar } from '../e2e/sidecar.ts';
import { call, startBridge, type ToyBridge } from '../support/bridge.ts';
import { openPage } from '../support/browser.ts';
import type { Crossfade, StartOptions } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

/** Longer than the guard takes for its three readings, on a busy machine. */
const moveMs = 20_000;
const rooms = Array.from({ length: 12 }, (_, i) => `room-${i}`);

interface Stand {
  bridge: ToyBridge;
  crossfade: Crossfade;
  client: HubClient;
  page: Page;
}

async function openStand(
  t: TestContext,
  { token, log, ...options }: StartOptions & { token?: string; log?: string[] } = {},
): Promise<Stand> {
  const dataDir = mkdtempSync(joinPath(tmpdir(), 'crossfade-page-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const bridge = await startBridge(t);
  const env: Record<string, string> = token === undefined ? {} : { CROSSFADE_ADMIN_TOKEN: token };
  const flags = ['--bridge', bridge.url, ...(log ?? ['--data-dir', dataDir, ...patient])];
  const crossfade = await startSidecar(t, flags, { env, ...options });
  const client = await join(t, crossfade.edge, 'chat', 'ada');
  for (const room of rooms) await client.connection.invoke('JoinRoom', room);
  const page = await openPage(t, crossfade.admin);
  t.after(failOnComplaints(page));
  await page.getByText('live', { exact: true }).waitFor();
  return { bridge, crossfade, client, page };
}

/** A page that its own policy hinders, or that throws, complains in the console. */
function failOnComplaints(page: Page): () => void {
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (line) => {
    if (/Content Security Policy/.test(line.text())) complaints.push(line.text());
  });
  return () => assert.deepEqual(complaints, []);
}

/** The backend at work, until the test ends. */
function keepBusy(t: TestContext, { listen }: Crossfade): void {
  let isOver = false;
  const working = (async () => {
    for (let number = 0; !isOver; number++) {
      const room = rooms[number % rooms.length]!;
      await call(listen, 'chat/message', messageOf(room, String(number))).catch(() => {});
      await sleep(25);
    }
  })();
  t.after(async () => {
    isOver = true;
    await working;
  });
}

function numberOf(page: Page, lane: string, name: string): Promise<number> {
  return page
    .locator(`[data-lane=${lane}] [data-number=${name}]`)
    .textContent()
    .then((text) => Number.parseFloat(text ?? ''));
}

const result = (page: Page) => page.locator('#result');

test('the page of the binary shows both lanes live, its slider moves rooms, and the rollback moves them back', async (t) => {
  const { crossfade, client, page } = await openStand(t, binary);
  keepBusy(t, crossfade);
  await until(async () => (await numberOf(page, 'bridge', 'rate')) > 1, { what: 'a rate', timeoutMs: moveMs });
  assert.equal(await numberOf(page, 'stream', 'rate'), 0);
  await page.locator('[data-stage=observe][aria-current=step]').waitFor();

  await page.getByRole('slider').fill('100');
  await page.getByText('every client comes through crossfade').waitFor();
  await page.getByRole('button', { name: 'Dry run' }).click();
  await page
    .locator('#dry-run-found')
    .getByText(/would move (\d+) of \1 rooms/)
    .waitFor({ timeout: moveMs });
  assert.equal((await stateOf(crossfade)).percent, 0, 'a dry run changes nothing');
  await page.getByRole('button', { name: 'Raise to 100%' }).click();
  await result(page).getByText('100% of the rooms are on the stream lane').waitFor({ timeout: moveMs });
  assert.equal((await stateOf(crossfade)).effective.percent, 100);
  await page.locator('[data-stage=full][aria-current=step]').waitFor();
  await until(async () => (await numberOf(page, 'stream', 'p95')) > 0, { what: 'a P95', timeoutMs: moveMs });
  await until(async () => (await numberOf(page, 'bridge', 'rate')) === 0, { what: 'no bridge', timeoutMs: moveMs });
  await page.locator('#changes').getByText('0% → 100%').waitFor();

  await page.getByRole('button', { name: 'Roll back' }).click();
  await result(page).getByText('Rolled back in order').waitFor();
  assert.equal((await stateOf(crossfade)).effective.percent, 0);
  await until(async () => (await numberOf(page, 'bridge', 'rate')) > 1, { what: 'a rate', timeoutMs: moveMs });
  assert.ok(shownOf(client, rooms[0]!).length > 0);
  assert.deepEqual(await crossfade.process.stop(), { code: 0, signal: null }, 'a page that watches holds up no end');
});

test('a raise that the guard refuses says why, beside what it saw before the button', async (t) => {
  const { bridge, crossfade, page } = await openStand(t);
  await join(t, bridge.url, 'chat', 'eve');
  await page
    .locator('#guard .fail')
    .getByText('1 client is connected to the bridge directly')
    .waitFor({ timeout: moveMs });
  await page.getByRole('button', { name: '25%', exact: true }).click();
  await page.getByRole('button', { name: 'Raise to 25%' }).click();
  await result(page)
    .getByText(/Not done: 1 client is connected to the bridge directly/)
    .waitFor({ timeout: moveMs });
  assert.equal((await stateOf(crossfade)).percent, 0);
});

test('a plan of the page runs to its next step; a log that hangs rolls it back by itself, and the page says why', async (t) => {
  const proxy = await startProxy(t, (await startRedis(t)).port);
  const log = ['--redis', `redis://127.0.0.1:${proxy.port}`, '--publish-timeout', '1000'];
  const { crossfade, page } = await openStand(t, { log });
  keepBusy(t, crossfade);
  await page.getByText('Start a plan').click();
  const start = page.locator('#plan-start');
  await page.locator('#plan-text').fill('name: evening\nsteps:\n  - percent: 50\n    hold: long');
  await start.click();
  await page.locator('#plan-result').getByText('plan:4: steps.0.hold: a time is a number with its unit').waitFor();

  await page.locator('#plan-text').fill(`name: evening
steps:
  - { percent: 50, hold: 1s }
  - { percent: 100, hold: 1h }
guards: { p95_ratio: 1000, delivered_ratio: 0.1, fallback_rate: 0.5, unfenced: 1000000 }
samples: { every: 1s, count: 2, events: 5 }`);
  await start.click();
  await page.locator('#plan-line').getByText('evening: running').waitFor();
  await page.locator('#plan-steps li:nth-child(2)[aria-current=step]').waitFor({ timeout: moveMs });
  await page.locator('#why').getByText('The plan evening is running, step 2 of 2 (100%)').waitFor();
  await page
    .locator('#plan-steps li:nth-child(2)')
    .getByText(/[1-9]\d* good/)
    .waitFor({ timeout: moveMs });
  assert.equal((await stateOf(crossfade)).percent, 100);

  proxy.stall();
  await page.locator('#plan-line').getByText('evening: rolled back').waitFor({ timeout: moveMs });
  await page
    .locator('#plan-why')
    .getByText(/^The log failed \(\w+\): all rooms are at the bridge/)
    .waitFor();
  await page.locator('#plan-guards .fail').getByText('the log failed').waitFor();
  assert.equal((await stateOf(crossfade)).percent, 0);
  proxy.pass();
  await page.locator('#changes').getByText('by plan evening: the log failed').waitFor();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Markdown' }).click();
  assert.equal((await download).suggestedFilename(), 'plan-evening.md');
});

test('the keyboard is enough: arrows and Enter move rooms, a held r rolls back, a short one does not', async (t) => {
  const { crossfade, page } = await openStand(t);
  await page.getByRole('slider').focus();
  for (let step = 0; step < 3; step++) await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await result(page).getByText('3% of the rooms are on the stream lane').waitFor({ timeout: moveMs });

  await page.keyboard.press('r');
  await page.keyboard.down('r');
  await result(page).getByText('Rolled back').waitFor();
  await page.keyboard.up('r');
  const { history } = await stateOf(crossfade);
  assert.deepEqual(
    history.map(({ what }) => what),
    ['set 3', 'rollback'],
  );
});

test('somebody holds it: nothing but a rollback can be pressed, and each button says why', async (t) => {
  const { crossfade, page } = await openStand(t);
  await page.getByLabel('Your name in the history').fill('ops');
  await page.getByLabel('Hold, because').fill('the backend is being deployed');
  await page.getByRole('button', { name: 'Hold', exact: true }).click();
  await page.locator('#why').getByText('ops holds it: the backend is being deployed').waitFor();
  await page.getByRole('slider').fill('50');
  await page.locator('#move-note').getByText('ops holds it.').waitFor();
  await page.getByRole('button', { name: 'Raise to 50%' }).press('Enter');
  assert.equal((await stateOf(crossfade)).percent, 0);
  await page.getByRole('button', { name: 'Release' }).click();
  await result(page).getByText('Released').waitFor();
  assert.equal((await stateOf(crossfade)).hold, null);
});

test('where there is a token the page reads without it, and changes nothing until it is entered', async (t) => {
  const token = 'a-token-of-the-operators';
  const { crossfade, page } = await openStand(t, { token });
  await page.getByText('Read-only.', { exact: true }).waitFor();
  await page.getByRole('slider').fill('50');
  await page.locator('#move-note').getByText('Read-only: enter the token above.').waitFor();
  await page.getByRole('button', { name: 'Raise to 50%' }).press('Enter');
  await page.getByRole('button', { name: 'Roll back' }).click();
  await result(page).getByText('Not done: the token is missing').waitFor();
  assert.deepEqual((await stateOf(crossfade)).history, []);

  await page.getByLabel('Admin token').fill('another');
  await page.keyboard.press('Enter');
  await page.getByText('That is not the token.').waitFor();
  await page.getByLabel('Admin token').fill(token);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Forget the token' }).waitFor();
  await page.getByRole('button', { name: 'Roll back' }).click();
  await result(page).getByText('Rolled back').waitFor();
  assert.ok(!page.url().includes(token));
  assert.equal((await stateOf(crossfade)).history.at(-1)?.what, 'rollback');
});

test('a compare is started and stopped on the page, and its verdict stands first there', async (t) => {
  const { crossfade, page } = await openStand(t);
  await page.locator('#mirror-share').selectOption('100');
  await page.locator('#mirror').click();
  await page.getByText('The mirror takes 100% of the rooms.').waitFor({ timeout: moveMs });
  assert.equal(await page.locator('#compare-line').textContent(), 'Nothing was compared yet.');
  await page.locator('#compare-start').click();
  await page.getByText('Started: until it is stopped').waitFor();
  keepBusy(t, crossfade);
  await page.locator('#compare-line', { hasText: /^SAME: \d+ events? in / }).waitFor({ timeout: 60_000 });
  await page.locator('#compare-stop').click();
  await page.locator('#compare-by', { hasText: /, ended$/ }).waitFor({ timeout: 60_000 });
  assert.match((await page.locator('#compare-types').textContent()) ?? '', /^chat_message\d+/);
  assert.equal(await page.locator('#compare-start').isVisible(), true);
});

test('the mirror’s share is chosen on the page as it is set, whoever has set it, until somebody chooses another', async (t) => {
  const { crossfade, page } = await openStand(t);
  const chosen = () => page.locator('#mirror-share').inputValue();
  for (const share of [25, 10]) {
    assert.equal((await command(crossfade, { mirror: share })).status, 200);
    await until(async () => (await chosen()) === String(share), { what: `${share}% to be chosen` });
  }
  await page.locator('#mirror-share').selectOption('0');
  assert.equal((await command(crossfade, { mirror: 50 })).status, 200);
  await page.getByText('It is on for 50% of the rooms.').waitFor({ timeout: moveMs });
  assert.equal(await chosen(), '0', 'what somebody is about to set stays');
  await page.locator('#mirror').click();
  await page.getByText('The mirror is off.').first().waitFor({ timeout: moveMs });
  assert.equal((await stateOf(crossfade)).mirror, false);
});
