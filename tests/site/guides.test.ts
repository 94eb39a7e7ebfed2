import { readdirSync, readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { CONNECT_MS, DEADLINE_MS } from '../../src/cpos/client';
import { inWords } from '../../src/site/facts';
import { DEADLINE_MS as WEBHOOK_DEADLINE_MS } from '../../src/webhooks/client';
import { type Harness, startHarness } from '../harness/harness';

const FILES = readdirSync(projectFile('docs')).filter((file) => file.endsWith('.md') && file !== 'architecture.md');
const GUIDES = FILES.map((file) => file.replace(/(-guide)?\.md$/, ''));

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ CODE_TTL_SECONDS: '300' });
});
afterAll(() => service.stop());

const page = async (path: string): Promise<string> => (await service.request('GET', path)).body;

/** The rows of a section's table, as `first cell: second cell`. */
const rowsOf = (body: string, id: string) =>
  [...(body.split(`id="${id}"`)[1] ?? '').matchAll(/<tr role="row">\n<td[^>]*>(.*)<\/td>\n<td[^>]*>(.*)<\/td>/g)].map(
    ([, what = '', value]) => `${what.replace(/<[^>]*>/g, '')}: ${value}`,
  );

test('every guide is listed, by those who integrate and those who operate', async () => {
  const [integrate = '', operate = ''] = (await page('/guides')).split('id="operate"');
  const names = (part: string) => [...part.matchAll(/<li><a href="guides\/([\w-]+)"/g)].map(([, name]) => name);
  expect(names(integrate)).toEqual(
    ['cpo', 'app', 'ingest', 'sandbox', 'conformance', 'conformance-client'].filter((name) => GUIDES.includes(name)),
  );
  expect(names(operate)[0]).toBe('operations');
  expect([...names(integrate), ...names(operate)].sort()).toEqual([...GUIDES].sort());
});

test('the descriptions of the guides have no mark-up', async () => {
  const shown = [...(await page('/guides')).matchAll(/<span class="quiet">(.*?)<\/span>/g)].map(([, text]) => text);
  expect(shown).toHaveLength(GUIDES.length);
  expect(shown.join()).not.toMatch(/[`[\]]|\*\*/);
});

test('the commands of a sandbox name its own address, those of another deployment the sandbox of the reader', async () => {
  expect(await page('/guides/sandbox')).toContain('URL=http://localhost:3000');
  const hosted = await startHarness({ SANDBOX: 'true', PUBLIC_URL: 'https://sandbox.example/scsp' });
  const port = hosted.log.lines.find(({ message }) => message === 'listening')?.port;
  const body = await (await fetch(`http://127.0.0.1:${port}/guides/sandbox`)).text();
  expect(body).toContain('URL=https://sandbox.example/scsp\n');
  expect(body).not.toContain('localhost:3000');
  await hosted.stop();
  const sandbox = await startHarness({ SANDBOX: 'true' });
  expect((await sandbox.request('GET', '/guides/sandbox')).body).toContain(`URL=${sandbox.url}\n`);
  await sandbox.stop();
});

test.each(FILES)('%s is a page with its sections, as many as it has', async (file) => {
  const text = readFileSync(projectFile(`docs/${file}`), 'utf8').replace(/^ *```[\s\S]*?^ *```/gm, '');
  const body = await page(`/guides/${file.replace(/(-guide)?\.md$/, '')}`);
  expect(body).toContain(`>${/^# (.*)$/m.exec(text)?.[1]?.replace("'", '&#39;')}</a>`);
  for (const [, section = ''] of text.matchAll(/^## (.*)$/gm)) {
    const [, id, shown] = new RegExp(`<h2 id="([^"]+)">(${section.replace(/[`.*+?^$()|[\]\\]/g, '.?')})<`).exec(
      body.replace(/<\/?code>/g, ''),
    ) ?? [undefined, undefined, `no section ${section}`];
    expect(shown).not.toMatch(/^no section/);
    expect(body).toContain(`<a href="#${id}">`);
  }
});

test('every link between pages leads to something, and to its anchor', async () => {
  const pages = new Map<string, string>();
  const read = async (path: string) => {
    if (!pages.has(path)) pages.set(path, String((await service.request('GET', path)).body));
    return pages.get(path) ?? '';
  };
  const paths = ['/', '/docs', '/guides', ...GUIDES.map((name) => `/guides/${name}`)];
  for (const path of [...paths, '/webhooks', '/problems', '/problems/wrong-role', '/changelog', '/versions', '/status'])
    for (const [, href = ''] of (await read(path)).matchAll(/<a\b[^>]* href="([^"]*)"/g)) {
      // A proxy may serve all pages under a prefix.
      expect(href).not.toMatch(/^\//);
      const { origin, pathname, hash } = new URL(href, service.url + path);
      if (origin !== service.url) {
        expect(href).toMatch(/^(https:\/\/|http:\/\/localhost:300[01]$)/);
        continue;
      }
      const status = (await service.request('HEAD', pathname)).status;
      const isThere = hash === '' || (await read(pathname)).includes(`id="${decodeURIComponent(hash.slice(1))}"`);
      expect({ path, href, status, isThere }).toEqual({ path, href, status: 200, isThere: true });
    }
});

test('what is not published is named without a link', async () => {
  const body = await page('/guides/operations');
  expect(body).toContain('deploy/kubernetes');
  expect(body).not.toMatch(/href="[^"]*(\.md|\.env|\.yml|src\/|deploy\/)/);
  expect((await service.request('GET', '/guides/architecture')).status).toBe(404);
});

test('the changelog is a page', async () => {
  const body = await page('/changelog');
  expect(body).toContain('<h1 id="changelog">Changelog</h1>');
  expect(body).toContain('<h2 id="unreleased">Unreleased</h2>');
});

test('the guide for CPOs names the times of this server', async () =>
  expect(rowsOf(await page('/guides/cpo'), 'addresses-and-time-outs-of-this-server')).toEqual([
    'This server calls you from: the operator of this server has not listed its addresses',
    `It connects to you within: ${CONNECT_MS / 1_000} seconds`,
    `You answer a call within: ${DEADLINE_MS / 1_000} seconds`,
    'It repeats an unpair call for: 7 days',
    'Your request arrives completely within: 15 seconds',
    'Your body has at most: 65,536 bytes',
    'An Idempotency-Key is remembered for: 24 hours',
    'A pairing code works for: 5 minutes',
  ]));

test('the guide for the app names the times of this server', async () =>
  expect(rowsOf(await page('/guides/app'), 'addresses-and-time-outs-of-this-server')).toEqual(
    expect.arrayContaining([
      'It connects to an endpoint within: 5 seconds',
      `An endpoint answers within: ${WEBHOOK_DEADLINE_MS / 1_000} seconds`,
      'It repeats a webhook for: 76 hours',
      'A long poll waits at most: 30 seconds',
    ]),
  ));

test.each([
  [10, '10 seconds'],
  [90, '90 seconds'],
  [600, '10 minutes'],
  [86_400, '24 hours'],
  [604_800, '7 days'],
])('%i seconds are written as %s', (seconds, words) => expect(inWords(seconds)).toBe(words));
