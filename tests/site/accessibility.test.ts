import type { Browser, Page } from 'playwright-core';
import { violations } from '../harness/axe';
import { startBrowser } from '../harness/browser';
import { type Harness, startHarness } from '../harness/harness';

const PAGES = [
  ...['/', '/guides', '/guides/cpo', '/guides/app', '/guides/ingest', '/guides/sandbox', '/guides/operations'],
  ...['/guides/databases', '/guides/erasure', '/guides/replicas', '/guides/performance', '/webhooks', '/problems'],
  ...['/guides/backup', '/problems/incorrect-code', '/changelog', '/versions', '/status'],
];

let service: Harness;
let sandbox: Harness;
let starting: ReturnType<typeof startBrowser>;
let browser: Browser;
beforeAll(async () => {
  starting = startBrowser();
  service = await startHarness();
  sandbox = await startHarness({ SANDBOX: 'true' });
  ({ browser } = await starting);
});
afterAll(() => Promise.all([service?.stop(), sandbox?.stop(), starting.then(({ stop }) => stop())]));

async function open(path: string, at: Harness = service): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(at.url + path);
  return page;
}

describe('axe finds nothing, on a phone and a desk, in light and dark', () => {
  test.each(PAGES)('on %s', async (path) => {
    const page = await open(path);
    await page.evaluate(`document.querySelectorAll('details').forEach((details) => { details.open = true; })`);
    expect(await violations(page)).toEqual([]);
    await page.close();
  });

  test('on the first page of a sandbox', async () => {
    const page = await open('/', sandbox);
    expect(await violations(page)).toEqual([]);
    await page.close();
  });

  test('on the page of an error', async () => {
    const page = await browser.newPage();
    await page.setExtraHTTPHeaders({ Accept: 'text/html' });
    await page.goto(`${service.url}/guides/nothing`);
    expect(await violations(page)).toEqual([]);
    await page.close();
  });

  test('on the reference, closed and with the dialog for the token', async () => {
    const page = await open('/docs');
    await page.locator('.opblock').first().waitFor();
    await page.locator('details summary').click();
    expect(await violations(page)).toEqual([]);

    await page.locator('.auth-wrapper .authorize').click();
    await page.locator('.dialog-ux .modal-ux input').fill('a token');
    expect(await violations(page)).toEqual([]);
    await page.locator('.dialog-ux .modal-ux input').press('Enter');
    await page.getByRole('button', { name: 'Logout' }).waitFor();
    expect(await violations(page)).toEqual([]);
    await page.close();
  });

  test('on the reference with an operation, shown and tried out', async () => {
    const page = await open('/docs#/CPO/pairOcpp');
    const block = page.locator('.opblock[id$="-pairOcpp"]');
    await block.locator('.responses-wrapper').waitFor();
    await block.getByRole('tab', { name: 'Schema' }).first().click();
    expect(await violations(page)).toEqual([]);

    await block.getByRole('button', { name: 'Try it out' }).click();
    await block.getByRole('button', { name: 'Execute' }).click();
    await block.locator('.live-responses-table tbody .response-col_status').waitFor();
    expect(await violations(page)).toEqual([]);
    await page.close();
  });
});

test('axe finds what is wrong', async () => {
  const page = await browser.newPage();
  await page.goto(`${service.url}/status`);
  await page.evaluate(`document.querySelector('main').append(document.createElement('select'))`);
  expect(await violations(page)).toEqual([
    { colorScheme: 'light', width: 390, broken: [expect.stringContaining('select-name 1')], tooWide: 0 },
    { colorScheme: 'light', width: 1280, broken: [expect.stringContaining('select-name 1')], tooWide: 0 },
  ]);
  await page.close();
});

test('the keyboard reaches the content first, and sees where it is', async () => {
  const page = await browser.newPage();
  await page.goto(`${service.url}/guides/cpo`);
  await page.keyboard.press('Tab');
  const skip = page.locator('.skip:focus');
  expect((await skip.boundingBox())?.width).toBeGreaterThan(100);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await page.locator('#content :focus').waitFor();
  expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid');
  await page.close();
});

test('an operation of the reference opens with the keyboard', async () => {
  const page = await browser.newPage();
  await page.goto(`${service.url}/docs`);
  await page.locator('.opblock[id$="-pairOcpp"] .opblock-summary-control').focus();
  await page.keyboard.press('Enter');
  await page.locator('.opblock[id$="-pairOcpp"] .opblock-body').waitFor();
  expect(page.url()).toBe(`${service.url}/docs#/CPO/pairOcpp`);
  await page.close();
});

test.each(['/', '/guides/cpo', '/webhooks', '/docs'])('%s can be read without scripts', async (path) => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(service.url + path);
  const text = await page.locator('#content').innerText();
  const wanted = { '/': 'Quick start', '/guides/cpo': 'Before you start', '/webhooks': 'station.paired' }[path];
  expect(text).toContain(wanted ?? 'POST /v1/scsp/{payload-protocol}/pair');
  await context.close();
});

test('a block of code can be copied', async () => {
  const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  await page.goto(service.url);
  const block = page.locator('.copyable').first();
  await block.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('status').getByText('Copied.').waitFor();
  expect(await page.evaluate('navigator.clipboard.readText()')).toBe(await block.locator('pre').innerText());
  await context.close();
});
