import { once } from 'node:events';
import { get } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { Browser, Page } from 'playwright-core';
import { problemsOf } from '../../src/contract/deployment-problems';
import { readContract } from '../../src/contract/document';
import { withoutSandbox } from '../../src/contract/without-sandbox';
import { html } from '../../src/site/html';
import { startBrowser } from '../harness/browser';
import { type Harness, startHarness } from '../harness/harness';
import { parseYaml } from '../harness/yaml';

const { text: TEXT } = withoutSandbox(readContract());
const DOCUMENT = parseYaml(TEXT);
const OPERATIONS = Object.values<any>(DOCUMENT.paths).flatMap(({ parameters = [], ...item }) =>
  Object.values<any>(item)
    .filter(({ operationId }) => operationId !== undefined)
    .map((operation) => ({ ...operation, parameters: [...parameters, ...(operation.parameters ?? [])].map(followed) })),
);
const PAGES = [
  ...[
    '/',
    '/docs',
    '/guides',
    '/guides/cpo',
    '/guides/operations',
    '/webhooks',
    '/problems',
    '/problems/incorrect-code',
  ],
  ...['/changelog', '/versions', '/status'],
];

function followed(parameter: any): any {
  return parameter.$ref === undefined ? parameter : DOCUMENT.components.parameters[parameter.$ref.split('/').at(-1)];
}

let service: Harness;
let elsewhere: Harness;
let starting: ReturnType<typeof startBrowser>;
let browser: Browser;
beforeAll(async () => {
  starting = startBrowser();
  service = await startHarness();
  elsewhere = await startHarness({
    PUBLIC_URL: 'https://pairing.example/scsp',
    EGRESS_ADDRESSES: '192.0.2.1,198.51.100.0/28',
  });
  ({ browser } = await starting);
});
afterAll(() => Promise.all([service?.stop(), elsewhere?.stop(), starting.then(({ stop }) => stop())]));

/** Where a service answers whose public address is another one. */
function localUrl({ log }: Harness): string {
  return `http://127.0.0.1:${log.lines.find(({ message }) => message === 'listening')?.port}`;
}

test.each(['/', '/docs', '/guides/cpo', '/guides/app'])('%s names the addresses that calls come from', async (path) => {
  expect(await (await fetch(localUrl(elsewhere) + path)).text()).toContain('192.0.2.1, 198.51.100.0/28');
  expect(await (await fetch(localUrl(service) + path)).text()).toContain('has not listed its addresses');
});

describe('the spec', () => {
  test('is served as YAML, without what only a sandbox serves', async () => {
    const { status, headers, body } = await service.request('GET', '/openapi.yaml');
    expect(status).toBe(200);
    expect(headers.get('Content-Type')).toBe('application/yaml; charset=utf-8');
    expect(body).toBe(TEXT);
  });

  test('is served as JSON with the same content', async () => {
    const { status, headers, body } = await service.request('GET', '/openapi.json');
    expect(status).toBe(200);
    expect(headers.get('Content-Type')).toBe('application/json; charset=utf-8');
    expect(body).toEqual(DOCUMENT);
  });

  test('names the public address of the service as its only server', async () => {
    const answer = await fetch(`${localUrl(elsewhere)}/openapi.json`);
    expect(await answer.json()).toEqual({ ...DOCUMENT, servers: [{ url: 'https://pairing.example/scsp' }] });
  });
});

describe('every page', () => {
  test.each(PAGES)('%s lets the browser load from this service only, and no inline script or style', async (path) => {
    const { status, headers } = await service.request('GET', path);
    expect(status).toBe(200);
    expect(headers.get('Content-Type')).toBe('text/html; charset=utf-8');
    // For browsers that do not know frame-ancestors.
    expect(headers.get('X-Frame-Options')).toBe('DENY');
    expect(headers.get('Content-Security-Policy')?.split(';')).toEqual([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' data:",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
  });

  test('has headers that the answers of the API do without', async () => {
    const { headers } = await service.request('GET', '/live');
    expect(headers.has('Content-Security-Policy')).toBe(false);
    expect(headers.has('X-Frame-Options')).toBe(false);
  });

  test.each([...PAGES, '/openapi.yaml', '/openapi.json', '/docs/page.css'])(
    '%s answers HEAD as GET without a body',
    async (path) => {
      const get = await service.request('GET', path);
      const head = await service.request('HEAD', path);
      expect(head.status).toBe(200);
      expect(head.body).toBe('');
      for (const name of ['Content-Type', 'Content-Length', 'Content-Security-Policy'])
        expect(head.headers.get(name)).toBe(get.headers.get(name));
    },
  );

  test.each(PAGES)('%s loads everything from this service, by relative addresses', async (path) => {
    const { body } = await service.request('GET', path);
    const targets = [...body.matchAll(/<(?:link|script|img)\b[^>]*? (?:href|src)="([^"]*)"/g)].map(
      ([, target]) => target,
    );
    expect(targets.length).toBeGreaterThan(3);
    for (const target of targets) {
      expect(target).not.toMatch(/^(\w+:|\/)/);
      expect((await fetch(new URL(target, service.url + path))).status).toBe(200);
    }
  });

  test.each(PAGES)('%s is sent once, and then only when it has changed', async (path) => {
    const { headers } = await service.request('GET', path);
    expect(headers.get('Cache-Control')).toBe('no-cache');
    // As a browser asks; fetch asks caches on the way to stand aside.
    const ask = async (etag: string) => {
      const [answer] = await once(get(service.url + path, { headers: { 'If-None-Match': etag } }), 'response');
      return { status: answer.statusCode, etag: answer.headers.etag, size: (await buffer(answer)).length };
    };
    const etag = headers.get('ETag') ?? '';
    expect(await ask(etag)).toEqual({ status: 304, etag, size: 0 });
    expect(await ask('"another"')).toEqual({ status: 200, etag, size: expect.any(Number) });
  });

  test.each(PAGES)('%s sets no cookie', async (path) =>
    expect((await service.request('GET', path)).headers.has('Set-Cookie')).toBe(false),
  );
});

describe('the documentation', () => {
  test.each(['/docs', '/guides'])('%s is found with a slash too many', async (path) => {
    const { status, headers } = await service.request('GET', `${path}/?a=b`);
    expect(status).toBe(308);
    expect(new URL(headers.get('Location') ?? '', `${service.url}${path}/`).href).toBe(`${service.url}${path}?a=b`);
  });

  test.each([
    ...['page.css', 'home.css', 'copy.js', 'icon.svg', 'reference.css', 'reference.js', 'reference-plugins.js'],
    ...['swagger-ui.css', 'swagger-ui-bundle.js'],
  ])('loads %s, which the browser may keep for a while', async (file) => {
    const { status, headers } = await service.request('GET', `/docs/${file}`);
    expect(status).toBe(200);
    expect(headers.get('Cache-Control')).toBe('public, max-age=3600');
    expect(headers.has('Last-Modified')).toBe(true);
  });

  test.each(['index.html', 'swagger-initializer.js', 'html.ts', 'package.json', '%2e%2e/package.json', 'Page.css'])(
    'serves nothing else, %s for instance',
    async (file) => {
      const { status, body } = await service.request('GET', `/docs/${file}`);
      expect(status).toBe(404);
      expect(body.type).toBe('/problems/not-found');
    },
  );
});

describe('errors outside /v1', () => {
  const BROWSER = { Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

  test.each(['/nothing', '/docs/nothing.js', '/a/b/c', '/problems/nothing', '/guides/nothing'])(
    'are a page for a browser that asks for %s, and JSON for others',
    async (path) => {
      const { status, headers, body } = await service.request('GET', path, { headers: BROWSER });
      expect([status, headers.get('Content-Type')]).toEqual([404, 'text/html; charset=utf-8']);
      expect(headers.get('Content-Security-Policy')).toContain("default-src 'none'");
      expect(body).toContain(`<code>${headers.get('X-Request-ID')}</code>`);
      const link = /href="([^"]+problems\/not-found)"/.exec(body)?.[1] ?? '';
      expect((await fetch(new URL(link, service.url + path))).status).toBe(200);
      for (const Accept of ['*/*', 'application/json, text/html;q=0.5', 'application/problem+json'])
        expect((await service.request('GET', path, { headers: { Accept } })).body.type).toBe('/problems/not-found');
    },
  );

  test('are JSON under /v1, whatever a browser prefers', async () => {
    const { headers, body } = await service.request('GET', '/v1/nothing', { headers: BROWSER });
    expect([headers.get('Content-Type'), body.status]).toEqual(['application/json; charset=utf-8', 404]);
  });
});

describe('the pages of the problems', () => {
  const escaped = (text: string) => html`${text}`.html;

  test.each(problemsOf({ sandbox: false }))(
    '%s says what it means and what to do',
    async (type, [status, title, message, remedy]) => {
      const { status: answered, body } = await service.request('GET', `/problems/${type}`);
      expect(answered).toBe(200);
      expect(body).toContain(`<h1>${escaped(title)}</h1>`);
      expect(body).toContain(`>${status} `);
      expect(body).toContain(escaped(message));
      expect(body).toContain(escaped(remedy));
      expect(body).toContain('<a href="../problems">All problems</a>');
    },
  );

  test('are all listed on one page', async () => {
    const { body } = await service.request('GET', '/problems');
    for (const [type, [status, title]] of problemsOf({ sandbox: false })) {
      expect(body).toContain(`<a href="problems/${type}">${escaped(title)}</a>`);
      expect(body).toContain(`>${status}<`);
    }
  });

  test.each(['no-such-problem', 'toString', '__proto__', 'Incorrect-Code'])('do not include %s', async (type) => {
    const { status, body } = await service.request('GET', `/problems/${type}`);
    expect(status).toBe(404);
    expect(body.type).toBe('/problems/not-found');
  });

  test('show a text with angle brackets as that text', async () => {
    const { body } = await service.request('GET', '/problems/missing-token');
    expect(body).toContain('Bearer &lt;token&gt;');
    expect(body).not.toContain('<token>');
  });

  test('escape everything that HTML gives a meaning, and nothing twice', () => {
    const inner = html`<b title="${'"'}">${`<&>'`}</b>`;
    expect(inner.html).toBe('<b title="&quot;">&lt;&amp;&gt;&#39;</b>');
    expect(html`${[inner, inner]}${1}`.html).toBe(`${inner.html}${inner.html}1`);
  });
});

/** A page under watch: what it asked for, and whatever the browser found fault with. */
async function openPage(options: Parameters<Browser['newPage']>[0] = {}) {
  const page = await browser.newPage(options);
  const complaints: string[] = [];
  const origins = new Set<string>();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure()?.errorText}`));
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) origins.add(new URL(request.url()).origin);
  });
  return { page, complaints, origins };
}

/** The beginning of a Markdown text, up to its first mark-up. */
const plain = (markdown: string) => markdown.split(/[`*\n]/)[0]!.trim();

const operation = (page: Page, id: string) => page.locator(`.opblock[id$="-${id}"]`);

async function authorize(page: Page, token: string): Promise<void> {
  await page.locator('.auth-wrapper .authorize').click();
  const dialog = page.locator('.dialog-ux .modal-ux');
  const logout = dialog.getByRole('button', { name: 'Logout' });
  if (await logout.isVisible()) await logout.click();
  await dialog.locator('input').fill(token);
  await dialog.locator('input').press('Enter');
  await logout.waitFor();
  await dialog.locator('.btn-done').click();
}

/** What the page shows after "Try it out" and "Execute". */
async function execute(page: Page, id: string) {
  const block = operation(page, id);
  await block.locator('.opblock-summary-control').click();
  await block.getByRole('button', { name: 'Try it out' }).click();
  await block.getByRole('button', { name: 'Execute' }).click();
  const shown = block.locator('.live-responses-table');
  await shown.locator('tbody .response-col_status').waitFor();
  return {
    url: await block.locator('.request-url pre').innerText(),
    status: await shown.locator('tbody .response-col_status').innerText(),
    text: await shown.innerText(),
  };
}

describe('the documentation in a browser', () => {
  test('shows every operation, all of it from this service', async () => {
    const { page, complaints, origins } = await openPage();
    await page.goto(`${service.url}/docs`);
    await page.locator('.opblock').first().waitFor();

    const shown = await page.locator('.opblock').evaluateAll((blocks) => blocks.map(({ id }) => id));
    const operations = OPERATIONS.map(
      ({ operationId, tags }) => `operations-${tags[0].replaceAll(' ', '_')}-${operationId}`,
    );
    const webhooks = Object.values<any>(DOCUMENT.webhooks).map(({ post }) => `operations-webhooks-${post.operationId}`);
    expect(shown.sort()).toEqual([...operations, ...webhooks].sort());
    const text = await page.locator('#swagger-ui').innerText();
    // Webhooks are shown below all tags, under a heading of their own.
    for (const { name, description } of DOCUMENT.tags.filter(({ name }: any) => name !== 'Webhooks')) {
      expect(text).toContain(name);
      expect(text).toContain(plain(description));
    }
    for (const { summary } of OPERATIONS) expect(text).toContain(summary);
    expect(complaints).toEqual([]);
    expect([...origins]).toEqual([service.url]);
    await page.close();
  });

  // Not of every one: opening takes the browser a third of a second.
  test.each(['pairOcpp', 'followCode'])('shows the description and parameters of %s', async (id) => {
    const { description, parameters } = OPERATIONS.find(({ operationId }) => operationId === id);
    const { page, complaints } = await openPage();
    await page.goto(`${service.url}/docs`);
    const block = operation(page, id);
    await block.locator('.opblock-summary-control').click();
    await block.locator('.responses-wrapper').waitFor();

    expect(await block.innerText()).toContain(plain(description));
    const rows = block.locator('[data-param-name]');
    const names = await rows.evaluateAll((found) => found.map((row) => row.getAttribute('data-param-name')));
    expect(names).toEqual(parameters.map(({ name }: { name: string }) => name));
    for (const { description: words } of parameters)
      expect(await rows.allInnerTexts()).toContainEqual(expect.stringContaining(plain(words)));
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('tries operations out with a bearer token that is entered there and kept nowhere', async () => {
    const { page, complaints, origins } = await openPage();
    const cpo = await service.cpo();
    await page.goto(`${service.url}/docs`);

    await authorize(page, cpo.token);
    const me = await execute(page, 'whoAmI');
    expect(me.status).toBe('200');
    expect(me.text).toContain(cpo.name);
    expect(me.text).toMatch(/Request duration\s+[\d.]+ ms/);

    // As offered: no example is sent that breaks the request or binds it to an earlier one.
    expect((await execute(page, 'listAttempts')).status).toBe('200');
    const paired = await execute(page, 'pairOcpp');
    expect([paired.status, paired.text.includes('incorrect-code')]).toEqual(['404', true]);
    // What the browser says of a 404.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('404')]);
    expect((await operation(page, 'pairOcpp').locator('.curl').innerText()).toLowerCase()).not.toContain('idempotency');

    await authorize(page, service.appToken);
    expect((await execute(page, 'listCpos')).status).toBe('200');
    const issued = await execute(page, 'issueCode');
    expect(issued.status).toBe('201');
    expect(issued.text).toMatch(/"code": "\d{6}"/);

    const stored = await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])');
    expect(stored).toBe('[{},{},""]');
    await page.reload();
    await page.locator('.auth-wrapper .authorize.unlocked').waitFor();
    expect(complaints).toEqual([]);
    expect([...origins]).toEqual([service.url]);
    await page.close();
  });

  test('lets nobody try out what a CPO serves, nor asks for the token of a CPO', async () => {
    const { page, complaints } = await openPage();
    await page.goto(`${service.url}/docs#/Served by the CPO/cpoPairOcpp`);
    const block = operation(page, 'cpoPairOcpp');
    await block.locator('.responses-wrapper').waitFor();
    expect(await block.getByRole('button', { name: 'Try it out' }).count()).toBe(0);
    await page.locator('.auth-wrapper .authorize').click();
    expect(await page.locator('.dialog-ux .auth-container h4 code').allInnerTexts()).toEqual(['bearer']);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('leads to the operation that is named in its address', async () => {
    const { page, complaints } = await openPage();
    await page.goto(`${service.url}/docs#/App/issueCode`);
    await operation(page, 'issueCode').locator('.opblock-body').waitFor();
    expect(await page.locator('.opblock.is-open').count()).toBe(1);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('sends requests to where it came from, whatever the public address is', async () => {
    const { page, complaints } = await openPage();
    await page.goto(`${localUrl(elsewhere)}/docs`);
    expect(await execute(page, 'live')).toMatchObject({ url: `${localUrl(elsewhere)}/live`, status: '200' });
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('tells when it cannot load the spec', async () => {
    const { page } = await openPage();
    await page.route('**/openapi.json', (route) => route.abort());
    await page.goto(`${service.url}/docs`);
    await page.getByText('The spec cannot be shown').waitFor();
    await page.close();
  });

  test('refuses to run a script that somebody smuggled in', async () => {
    const { page, complaints } = await openPage();
    await page.goto(`${service.url}/docs`);
    const complaint = page.waitForEvent('console');
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { text: 'smuggled = 1' }))`,
    );
    await complaint;
    expect(complaints).toEqual([expect.stringContaining('Content Security Policy')]);
    expect(await page.evaluate('typeof smuggled')).toBe('undefined');
    await page.close();
  });
});

describe.each(['light', 'dark'] as const)('on a %s phone', (colorScheme) => {
  test.each(PAGES)('%s fits, in the colours asked for', async (path) => {
    const { page, complaints, origins } = await openPage({
      colorScheme,
      viewport: { width: 390, height: 844 },
    });
    await page.goto(service.url + path);
    if (path === '/docs') await execute(page, 'live');
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    const [ground, text] = await page.evaluate<[string, string]>(
      `['background-color', 'color'].map((name) => getComputedStyle(document.body).getPropertyValue(name))`,
    );
    const brightness = (colour: string) => Number(/\d+/.exec(colour));
    expect(Math.sign(brightness(ground) - brightness(text))).toBe(colorScheme === 'light' ? 1 : -1);
    expect(complaints).toEqual([]);
    expect([...origins]).toEqual([service.url]);
    await page.close();
  });
});
