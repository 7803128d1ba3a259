// Makes docs/operator-page*.png anew: a running system (Redis, an ASP.NET Core bridge, two replicas, 40 clients, a backend at work), and
// the operator's page of one replica in a real Chromium, operated as an operator would. Needs redis-server and Chromium; without
// the .NET SDK the toy bridge stands in. Run: node scripts/recording/page.ts

import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { messageOf } from '../../test/e2e/operating.ts';
import { join, patient, startSidecar } from '../../test/e2e/sidecar.ts';
import { call, startBridge } from '../../test/support/bridge.ts';
import { openPage } from '../../test/support/browser.ts';
import type { Crossfade } from '../../test/support/process.ts';
import { startRedis } from '../../test/support/redis.ts';
import { noDotnet, startReferenceBridge } from '../../test/support/reference-bridge.ts';

const docs = fileURLToPath(new URL('../../docs', import.meta.url));
const rooms = Array.from({ length: 200 }, (_, i) => `request-${i}`);
const clients = 40;
const callsPerSecond = 60;
const moveMs = 20_000;
const wide = { width: 1280, height: 1950 };
const narrow = { width: 390, height: 844 };

const plan = `name: to-the-streams
steps:
  - { percent: 5, hold: 15s }
  - { percent: 25, hold: 1h }
  - { percent: 100, hold: 24h }
guards: { p95_ratio: 10, delivered_ratio: 0.9 }
samples: { every: 5s, count: 2, events: 10 }
`;

const cleanups: (() => unknown)[] = [];
const context = { after: (run: () => unknown) => cleanups.unshift(run) } as unknown as TestContext;

try {
  const redis = await startRedis(context);
  const bridge = noDotnet ? await startBridge(context) : await startReferenceBridge(context);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, ...patient];
  const one = await startSidecar(context, [...flags, '--instance', 'pod-a']);
  const two = await startSidecar(context, [...flags, '--instance', 'pod-b']);
  await connectClients([one, two]);
  keepBusy([one, two]);

  const page = await openPage(context, one.admin);
  await page.setViewportSize(wide);
  await page.getByLabel('Your name in the history').fill('anna');
  await operate(page);
  await page.emulateMedia({ colorScheme: 'light' });
  await take(page, 'operator-page.png');
  await page.emulateMedia({ colorScheme: 'dark' });
  await take(page, 'operator-page-dark.png');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(narrow);
  await take(page, 'operator-page-narrow.png');
} finally {
  for (const run of cleanups) await run();
}

async function connectClients(replicas: Crossfade[]): Promise<void> {
  for (let i = 0; i < clients; i++) {
    const client = await join(context, replicas[i % replicas.length]!.edge, 'chat', `user-${i}`);
    const own = rooms.filter((_, room) => room % clients === i);
    for (const room of own) await client.connection.invoke('JoinRoom', room);
  }
}

function keepBusy(replicas: Crossfade[]): void {
  let number = 0;
  const timer = setInterval(() => {
    const room = rooms[(number * 7) % rooms.length]!;
    const { listen } = replicas[number % replicas.length]!;
    call(listen, 'chat/message', messageOf(room, `message ${number++}`)).catch(() => {});
  }, 1_000 / callsPerSecond);
  cleanups.unshift(() => clearInterval(timer));
}

/** A plan that has come to its second step, so that the lanes can be seen to change, and a dry run of more. */
async function operate(page: Page): Promise<void> {
  await sleep(20_000);
  await page.getByText('Start a plan').click();
  await page.locator('#plan-text').fill(plan);
  await page.locator('#plan-start').click();
  await page.locator('#plan-steps li:nth-child(2)[aria-current=step]').waitFor({ timeout: 3 * moveMs });
  await sleep(20_000);
  await page.getByRole('slider').fill('50');
  await page.getByRole('button', { name: 'Dry run' }).click();
  await page.locator('#dry-run-found').getByText('would move').waitFor({ timeout: moveMs });
}

/** What it shows has come since it has this size and these colours. */
async function take(page: Page, name: string): Promise<void> {
  await page.evaluate('scrollTo(0, 0)');
  await sleep(2_500);
  await page.screenshot({ path: `${docs}/${name}` });
}
