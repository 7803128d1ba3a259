// The demo as a visitor sees it, in a real Chromium: what is typed in one client shows in the other.
// CROSSFADE_SCREENSHOT=<file.png> keeps a picture of the page at the end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { programs } from '../e2e/sidecar.ts';
import { apiKey } from '../support/bridge.ts';
import { openPage } from '../support/browser.ts';
import { spawnCrossfade } from '../support/process.ts';
import { until } from '../support/wait.ts';

for (const { name, options } of programs) {
  test(`${name} serves the demo: a message and typing of one client show in the other`, async (t) => {
    const demo = spawnCrossfade(t, ['demo', '--port', '0'], {}, options);
    const pageUrl = await until(() => /open\s+(http:\S+)/.exec(demo.stdout)?.[1], {
      what: () => demo.stderr,
      timeoutMs: 15_000,
    });
    const page = await openPage(t, pageUrl);
    const [ada, ben] = [page.locator('section[data-user=ada]'), page.locator('section[data-user=ben]')];
    for (const client of [ada, ben]) await client.getByText('connected', { exact: true }).waitFor();

    await ada.getByRole('textbox').pressSequentially('Hello Ben, can you see this?');
    await ben.getByText('ada is typing…').waitFor();
    await ada.getByRole('button').click();
    await ben.getByText('Hello Ben, can you see this?').waitFor();
    await ben.getByRole('textbox').fill('Yes, at once.');
    await ben.getByRole('button').click();
    await ada.getByText('Yes, at once.').waitFor();
    await until(async () => (await ben.locator('.typing').textContent()) === '', { what: 'typing to end' });
    assert.equal(await ben.getByRole('listitem').count(), 2, 'each message once');

    const command = /curl[\s\S]*?(?=\n\n)/.exec(demo.stdout)![0];
    const [, url] = /POST (\S+)/.exec(command)!;
    const [, body] = /-d '(.*)'/.exec(command)!;
    assert.match(command, /X-Internal-Api-Key: \S+'/);
    const key = /X-Internal-Api-Key: ([^']+)/.exec(command)![1]!;
    assert.notEqual(key, apiKey);
    const headers = { 'content-type': 'application/json', 'x-internal-api-key': key };
    const say = () => fetch(url!, { method: 'POST', headers, body: body! }).then((response) => response.json());
    assert.deepEqual(await say(), { broadcast: true });
    await ada.getByText('Hello from curl').waitFor();
    assert.deepEqual(await say(), { duplicate: true });

    const picture = process.env.CROSSFADE_SCREENSHOT;
    if (picture !== undefined) await page.screenshot({ path: picture });
    assert.deepEqual(await demo.stop(), { code: 0, signal: null });
  });
}
