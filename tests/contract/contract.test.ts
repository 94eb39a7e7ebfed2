import { createConnection } from 'node:net';
import Ajv from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { operationsOf, readContract, servedBy } from '../../src/contract/document';
import { formats } from '../../src/contract/formats';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';
import { FORM } from '../harness/page-session';

const { document } = readContract();
const all = operationsOf(document);
const operations = operationsOf(servedBy(document, 'scsp'));
const theirs = operationsOf(servedBy(document, 'cpo'));

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

/** What a raw connection answers to these bytes. */
const raw = (bytes: string) =>
  new Promise<string>((resolve, reject) => {
    const socket = createConnection(Number(new URL(service.url).port), '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
const bodyOf = (answer: string) => JSON.parse(answer.slice(answer.indexOf('{')));

type Media = { schema: object; example?: unknown; examples?: Record<string, { value: unknown }> };
const resolveRef = (node: any): any =>
  typeof node?.$ref === 'string'
    ? resolveRef(
        node.$ref
          .slice(2)
          .split('/')
          .reduce((at: any, name: string) => at[name], document),
      )
    : node;

const media = all.flatMap(({ id, operation }: any) => [
  ...Object.entries(resolveRef(operation.requestBody)?.content ?? {}).map(([type, it]) => [
    `${id} request ${type}`,
    it,
  ]),
  ...Object.entries(operation.responses).flatMap(([status, response]) =>
    Object.entries(resolveRef(response).content ?? {}).map(([type, it]) => [`${id} ${status} ${type}`, it]),
  ),
]) as [string, Media][];

describe('openapi.yaml', () => {
  const ajv = new Ajv({ strict: false, allErrors: true, formats });
  addFormats(ajv);
  ajv.addSchema(document, 'openapi.yaml');

  test.each(media)('the examples of %s fit their schema', (_name, { schema, example, examples }) => {
    const values = [
      ...(example === undefined ? [] : [example]),
      ...Object.values(examples ?? {}).map(({ value }) => value),
    ];
    expect(values.length).toBeGreaterThan(0);
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi.yaml#/'));
    for (const value of values) expect(ajv.validate(absolute, value) || ajv.errors).toBe(true);
  });

  test.each(all.map(({ id, operation }) => [id, operation] as const))('%s is described', (_id, operation) => {
    expect(String(operation.description).length).toBeGreaterThan(20);
    expect(String(operation.summary).length).toBeGreaterThan(3);
  });

  test.each(operations.map(({ id, operation }) => [id, operation] as const))(
    '%s declares what every operation of its kind may answer',
    (_id, operation) => {
      const secured = (operation.security as unknown[]).length > 0;
      expect(Object.keys(operation.responses as object)).toEqual(
        expect.arrayContaining([
          ...['400', '405', '500', '503'],
          ...(operation.requestBody === undefined ? [] : ['413', '415']),
          ...(secured ? ['401', '403', '429'] : []),
        ]),
      );
    },
  );

  test('every problem of the examples is in the list of problems, with its status and title', async () => {
    for (const [, { example, examples }] of media) {
      for (const value of [example, ...Object.values(examples ?? {}).map((it) => it.value)] as any[]) {
        if (value?.request_id === undefined || value.type === undefined) continue;
        const page = await service.request('GET', value.type);
        expect(page.status).toBe(200);
        expect(page.body).toContain(value.title);
      }
    }
  });
});

describe('every operation', () => {
  const url = (path: string) => path.replace('{payload-protocol}', 'ocpp2.0.1').replace(/\{\w+\}/g, 'unknown');

  test.each(operations.map(({ id, method, path, operation }) => [id, method, path, operation] as const))(
    '%s answers as the contract says, with and without a token',
    async (id, method, path, operation) => {
      const roles = (operation.security as { bearer: string[] }[])[0]?.bearer;
      const isForm = path.startsWith('/sandbox/');
      for (const token of [undefined, cpo.token, service.appToken]) {
        const answer = await service.request(method.toUpperCase(), url(path), {
          token,
          ...(operation.requestBody !== undefined &&
            (isForm ? { raw: '', headers: { 'Content-Type': FORM } } : { body: {} })),
        });
        const mayCall = roles === undefined || (token === cpo.token ? roles.includes('cpo') : roles.includes('app'));
        const expected =
          roles === undefined
            ? [200, 400, 404]
            : token === undefined
              ? [401]
              : mayCall
                ? [200, 201, 204, 400, 404, ...(id === 'sandboxStartRun' ? [409] : [])]
                : [403];
        expect(expected).toContain(answer.status);
        expect(Object.keys(operation.responses as object)).toContain(String(answer.status));
        expect(answer.headers.get('X-Request-ID')).toMatch(/^[0-9a-f-]{36}$/);
        // A page is asked for again each time, and sent when it has changed; that of a CPO is not stored.
        const isPage =
          id !== 'sandboxPage' && answer.status === 200 && answer.headers.get('Content-Type')?.startsWith('text/html');
        expect(answer.headers.get('Cache-Control')).toBe(isPage ? 'no-cache' : 'no-store');
        expect(answer.headers.get('X-Content-Type-Options')).toBe('nosniff');
        expect(answer.headers.has('X-Powered-By')).toBe(false);
      }
    },
  );

  test.each([...new Set(operations.map(({ path }) => path))])(
    '%s names its methods when asked for another',
    async (path) => {
      const methods = operations
        .filter((operation) => operation.path === path)
        .map(({ method }) => method.toUpperCase());
      const another = ['PATCH', 'PUT'].find((method) => !methods.includes(method)) ?? 'DELETE';
      const answer = await service.request(another, url(path));
      expect([answer.status, answer.body.type]).toEqual([405, '/problems/method-not-allowed']);
      expect(answer.headers.get('Allow')?.split(', ').sort()).toEqual(methods.sort());
    },
  );
});

test.each(theirs.map(({ id, method, path }) => [id, method, path] as const))(
  '%s is served by the CPO, and not found here',
  async (_id, method, path) => {
    const answer = await service.request(method.toUpperCase(), path.replace(/[{}]/g, ''), {
      token: cpo.token,
      body: {},
    });
    expect([answer.status, answer.body.type]).toEqual([404, '/problems/not-found']);
  },
);

test('an answer that breaks the contract does not pass for one, in the tests', async () => {
  const { id } = await service.code();
  await service.sql.query(`update pairing_codes set charging_location_id = '' where id = $1`, [id]);
  service.log.provokeInternalErrors();
  expect((await service.followCode(id)).status).toBe(500);
});

describe('problems', () => {
  test('have the one shape, as JSON unless problem+json is preferred', async () => {
    const types = async (accept: string) =>
      (await service.request('GET', '/v1/scsp/me', { headers: { Accept: accept } })).headers.get('Content-Type');
    expect(await types('*/*')).toBe('application/json; charset=utf-8');
    expect(await types('text/html')).toBe('application/json; charset=utf-8');
    expect(await types('application/problem+json')).toBe('application/problem+json; charset=utf-8');
    expect(await types('application/json;q=0.5, application/problem+json')).toBe(
      'application/problem+json; charset=utf-8',
    );
    const { body } = await service.request('GET', '/v1/scsp/me');
    expect(Object.keys(body)).toEqual(['message', 'type', 'title', 'status', 'request_id']);
  });

  test.each(['/nothing', '/V1/scsp/me', '/v1/scsp/ocpp2.0.1/pair/x', '/docs/../x', '/problems/x'])(
    '%s is not found',
    async (path) => {
      const answer = await service.request('GET', path);
      expect([answer.status, answer.body.type]).toEqual([404, '/problems/not-found']);
    },
  );

  test('a request id is taken over when sane and always echoed, a correlation id likewise', async () => {
    const ids = async (headers: Record<string, string>) => {
      const answer = await service.request('GET', '/v1/scsp/me', { headers });
      expect(answer.body.request_id).toBe(answer.headers.get('X-Request-ID'));
      return [answer.headers.get('X-Request-ID'), answer.headers.get('X-Correlation-ID')];
    };
    expect(await ids({ 'X-Request-ID': 'abc-1', 'X-Correlation-ID': 'order/66' })).toEqual(['abc-1', 'order/66']);
    expect(await ids({ 'X-Request-ID': 'a b', 'X-Correlation-ID': '<script>' })).toEqual([
      expect.stringMatching(/^[0-9a-f-]{36}$/),
      null,
    ]);
    expect((await ids({ 'X-Request-ID': 'x'.repeat(129) }))[0]).toHaveLength(36);
  });

  test('HEAD answers as GET without a body', async () => {
    for (const path of ['/live', '/openapi.yaml', '/v1/scsp/me']) {
      const answer = await service.request('HEAD', path, { token: cpo.token });
      expect([answer.status, answer.body]).toEqual([200, '']);
    }
  });

  test.each([
    [
      'an expectation that nobody has',
      'GET /live HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n',
      417,
      'expectation-failed',
    ],
    ['no Host', 'GET /live HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'malformed-request'],
  ])('what HTTP requires is refused in the same shape: %s', async (_name, bytes, status, type) => {
    const answer = await raw(bytes);
    expect(answer).toMatch(new RegExp(`HTTP/1.1 ${status} `));
    expect(bodyOf(answer.slice(answer.search(/HTTP\/1.1 [45]/)))).toMatchObject({
      status,
      type: `/problems/${type}`,
      message: expect.any(String),
    });
    expect(answer).toMatch(/X-Request-ID: \S+/);
  });

  test('a body is only asked for from a caller that may send it', async () => {
    const head = (token: string) =>
      `POST /v1/scsp/ocpp1.6/pair HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n${token}\r\n`;
    expect(await raw(head(''))).toMatch(/^HTTP\/1.1 401 /);
    expect(await raw(`${head(`Authorization: Bearer ${cpo.token}\r\n`)}{}`)).toMatch(
      /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 400 /,
    );
  });
});
