import { operationsOf, readContract, servedBy } from '../../src/contract/document';
import { startCpo } from '../harness/a-cpo';
import { type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { placesOf, type Schema, validJson, widestBodies } from '../harness/widest-bodies';

const { document } = readContract();
/**
 * Contract, section 7: no request of a legal size costs more than thirty small ones of CPU time. Machines differ, so the tests compare
 * with what the smallest request of an operation takes in the same run: 1 to 2 ms, client included, on an ordinary server.
 */
const MOST_TIMES = 30;
/** A run may compile code, or collect the garbage of others: the best one counts. */
const MOST_RUNS = 20;
const ONE_BY_ONE_MS = 300_000;

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ ...NO_LIMITS, LIMIT_USER_10MIN: '100000', SANDBOX: 'true' });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

/** CPU time in ms that this process takes for something, both sides of HTTP together; other processes do not count. */
async function cpuMs(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** What the smallest request takes, in ms, once its code is compiled. */
async function smallest(work: () => Promise<unknown>): Promise<number> {
  const costs: number[] = [];
  for (let run = 0; run < MOST_RUNS; run++) costs.push(await cpuMs(work));
  return Math.min(...costs);
}

/** How many times the cost of the smallest request something takes; as soon as it is within the bound, that is enough. */
async function timesOf(unitMs: number, work: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < MOST_RUNS && best > MOST_TIMES; run++) best = Math.min(best, (await cpuMs(work)) / unitMs);
  return best;
}

const schemaOf = (part: any): Schema => part.content['application/json'].schema;
const url = (path: string) => path.replace('{payload-protocol}', 'ocpp2.0.1').replace(/\{[\w-]+\}/g, 'x');
const tooDear = (costs: { name: string; times: number }[]) => costs.filter(({ times }) => times > MOST_TIMES);

const requests = operationsOf(servedBy(document, 'scsp'))
  // Forms are limited to 4 kB.
  .filter(({ operation }: any) => operation.requestBody?.content['application/json'] !== undefined)
  .map(({ id, method, path, operation }) => ({ id, method, path, operation, schema: schemaOf(operation.requestBody) }));
const answers = operationsOf(servedBy(document, 'cpo'))
  .filter(({ id }) => id.startsWith('cpoPair'))
  .map(({ id, path, operation }: any) => ({ id, path, schema: schemaOf(operation.responses['200']) }));

describe('every list of a body', () => {
  test.each([...requests, ...answers].map(({ id, schema }) => [id, schema] as const))(
    'of %s has a bound',
    (_id, schema) => {
      const lists = placesOf(document, schema).filter((place) => place.schema.items !== undefined);
      for (const { path, schema: list } of lists) expect([path, list.maxItems]).toEqual([path, expect.any(Number)]);
    },
  );
});

test.each(requests.map(({ id, ...request }) => [id, request] as const))(
  'no body costs more than thirty small ones: %s',
  async (_id, { method, path, operation, schema }) => {
    const token = JSON.stringify(operation.security).includes('app') ? service.appToken : cpo.token;
    const send = async (raw: string) => {
      const { status } = await service.request(method.toUpperCase(), url(path), { token, raw });
      // What a sandbox limits is counted after its body was checked.
      expect([200, 201, 400, 404, 409, 429]).toContain(status);
    };
    const unitMs = await smallest(() => send(validJson(document, schema)));
    const costs: { name: string; times: number }[] = [];
    for (const { name, body } of widestBodies(document, schema))
      costs.push({ name, times: await timesOf(unitMs, () => send(body)) });
    expect(tooDear(costs)).toEqual([]);
  },
  ONE_BY_ONE_MS,
);

test.each(answers.map(({ id, ...answer }) => [id, answer] as const))(
  'no answer of a CPO costs more than thirty small ones: %s',
  async (_id, { path, schema }) => {
    let body = validJson(document, schema);
    const backend = await startCpo(service, (res) =>
      res.writeHead(200, { 'content-type': 'application/json' }).end(body),
    );
    const payload_protocol = url(path).split('/')[3];
    const redeem = async () => {
      const { status } = await service.redeem(backend, '1', { payload_protocol });
      expect([201, 409, 502]).toContain(status);
    };
    const unitMs = await smallest(redeem);
    const costs: { name: string; times: number }[] = [];
    for (const widest of widestBodies(document, schema)) {
      body = widest.body;
      costs.push({ name: widest.name, times: await timesOf(unitMs, redeem) });
    }
    await backend.down();
    expect(tooDear(costs)).toEqual([]);
  },
  ONE_BY_ONE_MS,
);

const QUERY_SIZE = 15_000;
test.each([
  'user_id=a&',
  'user_id[a]=1&',
  'user_id[][][]=1&',
  'user_id[__proto__]=1&',
  'limit=1&',
  '%5B%5D=&',
  'user_id=%F0%9F%94%8C&',
  '&',
  '=',
  '[',
  "user_id='",
])('no query costs more than thirty small ones: %s again and again', async (part) => {
  const numbered = Array.from({ length: 800 }, (_, n) => part.replace(/=/, `${n}=`))
    .join('')
    .slice(0, QUERY_SIZE);
  const ask = async (query: string) => {
    const { status } = await service.request('GET', `/v1/app/charging-stations?${query}`, { token: service.appToken });
    expect([200, 400, 431]).toContain(status);
  };
  const unitMs = await smallest(() => ask('limit=1'));
  for (const query of [part.repeat(QUERY_SIZE / part.length), numbered])
    expect(await timesOf(unitMs, () => ask(query))).toBeLessThan(MOST_TIMES);
});

test('no set of headers costs more than thirty small ones', async () => {
  const ask = (headers: Record<string, string>) =>
    service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: cpo.token, body: {}, headers });
  const unitMs = await smallest(() => ask({}));
  const many = Object.fromEntries(Array.from({ length: 600 }, (_, n) => [`x-${n}`, 'a'.repeat(10)]));
  for (const headers of [many, { 'Idempotency-Key': 'a'.repeat(15_000) }, { Accept: 'a/b,'.repeat(3_500) }])
    expect(await timesOf(unitMs, () => ask(headers))).toBeLessThan(MOST_TIMES);
});
