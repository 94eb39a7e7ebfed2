import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { testCodes } from '../../src/sandbox/test-codes';
import { sendJson, startCpo } from '../harness/a-cpo';
import { violations } from '../harness/axe';
import { startBrowser } from '../harness/browser';
import { FAST, runToEnd } from '../harness/certification';
import { type Harness, startHarness } from '../harness/harness';
import { pairBy, signUp } from '../harness/self-service';

let service: Harness;
let starting: ReturnType<typeof startBrowser>;
let browser: Browser;
beforeAll(async () => {
  starting = startBrowser();
  service = await startHarness({ SANDBOX: 'true' }, { certification: FAST });
  ({ browser } = await starting);
});
afterAll(() => Promise.all([service?.stop(), starting.then(({ stop }) => stop())]));

/** Runs a command as somebody who pastes it into a terminal would. */
const run = (command: string) =>
  text(spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout).then((answer) =>
    JSON.parse(answer),
  );

async function create(page: Page, name = 'Station Works'): Promise<void> {
  await service.sql.query('delete from sandbox_sign_ups');
  await page.goto(`${service.url}/sandbox`);
  await page.getByLabel('Name').fill(name);
  await page.getByRole('button', { name: 'Create a CPO' }).click();
  service.secrets.add(await page.locator('pre').first().innerText());
}

async function signIn(page: Page, token: string): Promise<void> {
  await page.goto(`${service.url}/sandbox`);
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('You are signed in.').waitFor();
}

/** A CPO about which the page has everything to show. */
async function busyCpo() {
  const cpo = await signUp(service);
  const backend = await startCpo(service, (res) => sendJson(res, 200, { charging_station: {} }));
  const send = (method: string, path: string, body: object) =>
    service.request(method, path, { token: cpo.token, body });
  await pairBy(service, cpo, '100001', { uid: 'station-1' });
  await pairBy(service, cpo, '100002', { uid: 'station-2' });
  await send('POST', '/v1/scsp/ocpp2.0.1/pair', { code: '1', charging_station: { uid: 'u'.repeat(48), evses: [{}] } });
  await send('PUT', '/v1/scsp/me/endpoint', { base_url: backend.url, token: backend.outboundToken });
  await runToEnd(service, cpo);
  await send('POST', '/v1/scsp/test-redemptions', { code: '1', payload_protocol: 'ocpp2.0.1' });
  backend.answer = (res) => sendJson(res, 500, {});
  await send('POST', '/v1/scsp/test-unpairs', { uid: 'station-2' });
  return cpo;
}

test('the quick start: create a CPO, paste a command, see the attempt appear, unpair', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await create(page);
  const [pair = '', incorrect = ''] = (await page.locator('pre').allInnerTexts()).filter((one) =>
    one.includes('/pair'),
  );

  await page.getByRole('link', { name: 'Go on to your sandbox' }).click();
  await page.getByRole('heading', { level: 1, name: 'Station Works' }).waitFor();
  expect((await run(pair)).message).toContain('successfully paired');
  expect((await run(incorrect)).type).toBe('/problems/incorrect-code');

  // The page brings itself up to date.
  const attempts = page.locator('#attempts-part');
  await attempts.getByText('200 paired').waitFor();
  await attempts.getByText('404 incorrect-code').waitFor();
  await page.getByRole('button', { name: 'Unpair first-station' }).click();
  await page.getByText('The station is unpaired.').waitFor();
  expect(page.url()).toBe(`${service.url}/sandbox?done=unpaired#stations`);
  expect((await run(pair)).message).toContain('successfully paired');
  await context.close();
});

test('every command of the page works as pasted', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await create(page);
  const commands = await page.locator('.entry pre').allTextContents();
  // Those that make one wait have tests of their own.
  const quick = commands.filter((command) => !/"000(200|504)"/.test(command));
  const statusOf = (command: string) => run(command.replace('curl -s', "curl -s -o /dev/null -w '%{http_code}'"));
  const answers = await Promise.all(
    quick.map(async (command) => [/"code": "(\d+)"/.exec(command)?.[1], await statusOf(command)]),
  );
  expect(answers).toMatchObject([
    ['100000', 200],
    ...testCodes()
      .slice(1)
      .flatMap(([code]) =>
        Number(code) === 200 || Number(code) === 504 ? [] : [[code, Number(code) === 414 ? 404 : Number(code)]],
      ),
  ]);
  expect(commands.find((command) => command.includes('"000504"'))).toContain('Idempotency-Key');

  await page.goto(`${service.url}/sandbox`);
  const [withVariable = ''] = await page.locator('.entry pre').allTextContents();
  expect((await run(`TOKEN=x\n${withVariable}`)).type).toBe('/problems/invalid-token');
  await context.close();
});

test('all of it works without scripts', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  const cpo = await busyCpo();
  await signIn(page, cpo.token);
  await pairBy(service, cpo, '000404', { uid: 'later-station' });
  await page.getByRole('link', { name: 'Refresh' }).nth(1).click();
  await page.getByText('404 incorrect-code').waitFor();
  await page.getByLabel('uid of a paired station').fill('station-1');
  await page.getByRole('button', { name: 'Unpair for the customer' }).click();
  await page.getByRole('status').getByText('Your backend is notified').waitFor();
  await page.getByRole('button', { name: 'Show my token' }).click();
  expect(await page.locator('pre').first().innerText()).toBe(cpo.token);
  await page.getByRole('link', { name: 'Go on to your sandbox' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out.').waitFor();
  await context.close();
});

test('all of it works without a mouse', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await service.sql.query('delete from sandbox_sign_ups');
  await page.goto(`${service.url}/sandbox`);
  await page.getByLabel('Name').press('Enter');
  await page.getByRole('link', { name: 'Go on to your sandbox' }).press('Enter');
  await page.locator('.entry summary').nth(3).press('Enter');
  await page.locator('.entry').nth(3).locator('pre').waitFor();
  await page.getByLabel('Base URL').fill('http://localhost:9');
  await page.getByLabel('Bearer token').fill('a-token');
  await page.getByLabel('Bearer token').press('Enter');
  await page.getByText('The endpoint is set.').waitFor();
  await context.close();
});

test('the page loads nothing from elsewhere and breaks no policy of its own', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(service.url) && !request.url().startsWith('data:')) complaints.push(request.url());
  });
  await signIn(page, (await busyCpo()).token);
  await page.locator('#attempts-part').getByText('200 paired').first().waitFor();
  expect(complaints).toEqual([]);
  await context.close();
});

describe('axe finds nothing, on a phone and a desk, in light and dark', () => {
  let context: BrowserContext;
  let page: Page;
  beforeEach(async () => {
    context = await browser.newContext();
    page = await context.newPage();
  });
  afterEach(() => context.close());
  const openAll = () =>
    page.evaluate(`document.querySelectorAll('details').forEach((details) => { details.open = true; })`);

  test('when nobody is signed in', async () => {
    await page.goto(`${service.url}/sandbox?done=signed-out`);
    expect(await violations(page)).toEqual([]);
  });

  test('on the page that shows the token', async () => {
    await create(page);
    await openAll();
    expect(await violations(page)).toEqual([]);
  });

  test('when a CPO has done nothing yet', async () => {
    await signIn(page, (await signUp(service)).token);
    expect(await violations(page)).toEqual([]);
  });

  test('when a CPO has everything', async () => {
    await signIn(page, (await busyCpo()).token);
    await openAll();
    await page.getByText('Unpair calls that wait').waitFor();
    const failed = page.locator('#certification-part details').filter({ has: page.locator('.status.bad') });
    await failed.getByText('curl -i').first().waitFor();
    await failed.getByText('What to do:').first().waitFor();
    expect(await violations(page)).toEqual([]);
  });

  test('on the page of an error', async () => {
    await page.goto(`${service.url}/sandbox`);
    await page.getByLabel('Token').fill('nonsense');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('must be a valid token').waitFor();
    expect(await violations(page)).toEqual([]);
  });
});
