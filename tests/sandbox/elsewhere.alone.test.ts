import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Harness, startHarness as Start } from '../harness/harness';

/** The modules of the sandbox that were loaded. */
const loaded = new Set<string>();
const files = readdirSync(join(__dirname, '../../src/sandbox'), { recursive: true }).map(String);
for (const file of files.filter((name) => name.endsWith('.ts'))) {
  const module = `../../src/sandbox/${file.replace('.ts', '')}`;
  jest.doMock(module, () => {
    loaded.add(file);
    return jest.requireActual(module);
  });
}
const { startHarness }: { startHarness: typeof Start } = require('../harness/harness');
const { readContract, operationsOf } = require('../../src/contract/document');

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const operations = operationsOf(readContract().document).filter(
  ({ operation }: { operation: object }) => Reflect.get(operation, 'x-sandbox') === true,
);

describe('outside sandbox deployments', () => {
  test('no module of the sandbox is loaded', async () => {
    const { code } = await service.code();
    const cpo = await service.cpo();
    expect((await service.pair(cpo, code)).status).toBe(200);
    expect([...loaded]).toEqual([]);
  });

  test.each(['/openapi.yaml', '/openapi.json', '/problems', '/docs', '/'])(
    '%s documents nothing of it',
    async (path) => {
      const { status, body } = await service.request('GET', path);
      expect(status).toBe(200);
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      for (const word of [
        'x-sandbox',
        '/v1/sandbox',
        'sandboxCreateCpo',
        'sandboxPage',
        'SandboxForm',
        'form-refused',
        'href="sandbox"',
        'SandboxCpo',
        'sandbox-cpos',
        'name: Sandbox',
        '/certification',
        'Certification',
        "'307'",
        'SandboxRedirect',
      ])
        expect(text).not.toContain(word);
    },
  );

  test.each<[string, string]>(
    operations.map(({ method, path }: { method: string; path: string }) => [method.toUpperCase(), path]),
  )('%s %s is not found', async (method: string, path: string) => {
    const { token } = await service.cpo();
    const answer = await service.request(method, path, { token, ...(method !== 'GET' && { body: { name: 'x' } }) });
    expect([answer.status, answer.body.type]).toEqual([404, '/problems/not-found']);
  });

  test('its problems have no page', async () =>
    expect((await service.request('GET', '/problems/too-many-sandbox-cpos')).status).toBe(404));
});

test('in a sandbox deployment they are loaded', async () => {
  const sandbox = await startHarness({ SANDBOX: 'true' });
  expect([...loaded]).toEqual(expect.arrayContaining(['deployment.ts', 'test-codes.ts', 'page/http.ts']));
  expect((await sandbox.request('GET', '/openapi.yaml')).body).toContain('/v1/sandbox/cpos');
  await sandbox.stop();
});
