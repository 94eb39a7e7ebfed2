import { createHash } from 'node:crypto';
import { operationsOf, readContract } from '../../src/contract/document';
import { withoutSandbox } from '../../src/contract/without-sandbox';
import { protocols } from '../../src/protocols';
import { html } from '../../src/site/html';
import { type Harness, startHarness } from '../harness/harness';

const { text, document } = withoutSandbox(readContract());

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const page = async (path: string): Promise<string> => (await service.request('GET', path)).body;

test('the first page has one picture and the sequences of both directions and of unpair, each with a description', async () => {
  const body = await page('/');
  const drawings = [...body.matchAll(/<svg[\s\S]*?<\/svg>/g)].map(([svg]) => svg);
  expect(drawings).toHaveLength(4);
  for (const svg of drawings)
    expect(svg).toMatch(/role="img" aria-labelledby="[\w-]+ [\w-]+"[\s\S]*<desc id="[\w-]+">\S/);
  expect([...body.matchAll(/<figure class="sequence" id="([\w-]+)"/g)].map(([, id]) => id)).toEqual([
    'scsp-code',
    'cpo-code',
    'unpair',
  ]);
});

test('the sequences name operations of the contract', async () => {
  const figures = (await page('/')).split('<figure').slice(1).join('');
  const named = [...figures.matchAll(/<code>([A-Z]+) (?:\{base_url\})?(\/[^<?]*)/g)].map(
    ([, method, path]) => `${method} ${path}`,
  );
  expect(named).toHaveLength(8);
  const operations = operationsOf(document).map(({ method, path }) => `${method.toUpperCase()} ${path}`);
  expect(named.filter((name) => !operations.includes(name))).toEqual([]);
});

test('/webhooks has every event of the contract, with its example', async () => {
  const body = await page('/webhooks');
  const webhooks = Object.values<any>(document.webhooks ?? {});
  expect(webhooks.length).toBeGreaterThan(5);
  for (const { post } of webhooks) {
    const { example } = post.requestBody.content['application/json'];
    expect(body).toContain(`<h3 id="${example.type}">`);
    expect(body).toContain(html`<code>${JSON.stringify(example, null, 2)}</code>`.html);
  }
});

test('/versions names the version, the hash of the contract as served, and every payload protocol', async () => {
  const body = await page('/versions');
  expect(body).toContain(`<dd>${document.info.version}</dd>`);
  expect(body).toContain(`<code>${createHash('sha256').update(text).digest('hex')}</code>`);
  for (const name of Object.keys(protocols)) expect(body).toContain(`<li><code>${name}</code></li>`);
});

test('/status leads to the probes', async () => {
  const body = await page('/status');
  for (const probe of ['ready', 'live']) expect(body).toContain(`href="${probe}"`);
});

test('the longest wait in the guide for the app is that of the contract', async () => {
  const longest = operationsOf(document).flatMap(({ operation }: any) =>
    (operation.parameters ?? []).flatMap(({ name, schema }: any) => (name === 'wait' ? [schema.maximum] : [])),
  );
  const [, shown] = />A long poll waits at most<\/td>\n<td[^>]*>(\d+) seconds/.exec(await page('/guides/app')) ?? [];
  expect(Number(shown)).toBe(Math.max(...longest));
});
