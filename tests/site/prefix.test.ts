import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser } from 'playwright-core';
import { startBrowser } from '../harness/browser';
import { type Harness, startHarness } from '../harness/harness';

const PREFIX = '/partners/scsp';

let service: Harness;
let sandbox: Harness;
let proxies: Server[];
let outside: string[];
let starting: ReturnType<typeof startBrowser>;
let browser: Browser;
beforeAll(async () => {
  starting = startBrowser();
  service = await startHarness();
  sandbox = await startHarness({ SANDBOX: 'true' });
  outside = [];
  proxies = [];
  ({ browser } = await starting);
});
afterAll(async () => {
  await Promise.all([service?.stop(), sandbox?.stop(), starting.then(({ stop }) => stop())]);
  for (const proxy of proxies) proxy.close();
});

/** Starts a proxy that serves everything of a service under the prefix, and returns where. */
async function behindProxy({ url: target }: Harness): Promise<string> {
  const proxy = createServer((req, res) => {
    const url = req.url ?? '';
    if (!url.startsWith(`${PREFIX}/`)) {
      outside.push(url);
      return res.writeHead(404).end();
    }
    const { method, headers } = req;
    const forwarded = request(target + url.slice(PREFIX.length), { method, headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(res);
    });
    return req.pipe(forwarded);
  });
  proxies.push(proxy);
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${PREFIX}`;
}

test('behind a proxy that serves everything under a prefix, every page looks right and leads on', async () => {
  const page = await browser.newPage();
  const failed: string[] = [];
  page.on('response', (answer) => {
    if (answer.status() >= 400) failed.push(`${answer.status()} ${answer.url()}`);
  });
  const at = await behindProxy(service);
  await page.goto(`${at}/`);
  for (const name of [
    'Guides',
    'Guide for CPOs',
    'Problems',
    'Incorrect pairing code',
    'Webhooks',
    'Changelog',
    'Status',
  ])
    await page.locator('body').getByRole('link', { name, exact: true }).first().click();
  expect(page.url()).toBe(`${at}/status`);
  await page.getByRole('link', { name: 'SCSP pairing' }).click();
  expect(page.url()).toBe(`${at}/`);
  await page.getByRole('link', { name: 'Reference' }).first().click();
  await page.locator('.opblock').first().waitFor();
  expect(
    await page.locator('.page-header nav').evaluate('getComputedStyle(document.querySelector("nav")).display'),
  ).toBe('flex');
  expect([failed, outside]).toEqual([[], []]);
  await page.close();
});

test('behind such a proxy, the forms of a sandbox lead back to its page', async () => {
  const page = await browser.newPage();
  const at = await behindProxy(sandbox);
  await page.goto(`${at}/`);
  await page.getByRole('link', { name: 'Create a CPO', exact: true }).click();
  await page.getByRole('button', { name: 'Create a CPO' }).click();
  sandbox.secrets.add(await page.locator('pre').first().innerText());
  await page.getByRole('link', { name: 'Go on to your sandbox' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out.').waitFor();
  expect([page.url(), outside]).toEqual([`${at}/sandbox?done=signed-out`, []]);
  await page.close();
});
