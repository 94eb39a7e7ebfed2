import { random } from '../../src/crypto/random';
import { isReserved } from '../../src/sandbox/test-codes';
import { startCpo } from '../harness/a-cpo';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';
import { outcomesOf, pairBy, signUp, uidsOf } from '../harness/self-service';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { testCodes: { lateMs: 1, withheldMs: 1 } });
});
afterAll(() => service.stop());

const cpos: [string, () => Promise<TestCpo>][] = [
  ['a self-service CPO', () => signUp(service)],
  ['a CPO that an operator has added', () => service.cpo()],
];

const limitsOf = async (cpo: TestCpo) => {
  const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
  return body.limits.map(({ limit, left }: { limit: number; left: number }) => limit - left);
};

describe.each(cpos)('for %s', (_name, create) => {
  let cpo: TestCpo;
  beforeEach(async () => {
    cpo = await create();
  });

  test('100000 to 199999 pair once, until the station is unpaired', async () => {
    const uid = `S-${cpo.id.slice(-12)}`;
    const paired = await pairBy(service, cpo, '123456', { uid });
    expect(paired).toMatchObject({ status: 200, body: { charging_station: { uid } } });
    expect((await pairBy(service, cpo, '123-456')).status).toBe(404);
    expect((await pairBy(service, cpo, '123456', { uid })).status).toBe(409);
    expect((await pairBy(service, cpo, '199999', { uid })).status).toBe(409);
    expect(await uidsOf(service, cpo)).toEqual([uid]);
    expect((await service.unpairAsCpo(cpo, uid.toUpperCase())).status).toBe(200);
    expect(await uidsOf(service, cpo)).toEqual([]);
    expect((await pairBy(service, cpo, '123 456', { uid })).status).toBe(200);
    expect(await outcomesOf(service, cpo)).toEqual([
      ...['paired', 'station-already-paired', 'station-already-paired', 'incorrect-code', 'paired'],
    ]);
  });

  test('the same code pairs for every CPO', async () => {
    const other = await create();
    for (const one of [cpo, other]) expect((await pairBy(service, one, '100007')).status).toBe(200);
  });

  test.each([
    ['000404', 404, 'incorrect-code'],
    ['000409', 409, 'station-already-paired'],
    ['000429', 429, 'too-many-incorrect-codes'],
    ['000500', 500, 'internal-error'],
    ['000400', 400, 'invalid-request'],
  ])('%s is answered %i %s, always, and counts towards no limit', async (code, status, type) => {
    service.log.provokeInternalErrors();
    for (let i = 0; i < 7; i++) {
      const answer = await pairBy(service, cpo, code, { uid: 'same' });
      expect([answer.status, answer.body.type]).toEqual([status, `/problems/${type}`]);
      expect(answer.headers.get('Retry-After')).toBe(code === '000429' ? '2' : null);
      if (code === '000400') expect(answer.body.errors.length).toBeGreaterThan(0);
    }
    expect(await limitsOf(cpo)).toEqual([0, 0, 0, 0]);
    await untilSo(async () => (await outcomesOf(service, cpo)).length === 7);
    expect(new Set(await outcomesOf(service, cpo))).toEqual(new Set([type]));
    expect(service.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test.each([
    ['000404', 404],
    ['000409', 409],
  ])('the answer to %s is replayed for its Idempotency-Key', async (code, status) => {
    const ask = () => pairBy(service, cpo, code, { uid: 'same', key: 'a key' });
    expect((await ask()).status).toBe(status);
    const again = await ask();
    expect([again.status, again.headers.get('Idempotent-Replayed')]).toEqual([status, 'true']);
    expect(await outcomesOf(service, cpo)).toHaveLength(1);
  });

  test.each([undefined, 'a key'])(
    '000503 is answered 503 the first time for a uid, then 200 (key: %s)',
    async (key) => {
      const [one, other] = [`A-${cpo.id.slice(-12)}`, `B-${cpo.id.slice(-12)}`];
      const first = await pairBy(service, cpo, '000503', { uid: one, key });
      expect([first.status, first.headers.get('Retry-After')]).toEqual([503, '1']);
      expect((await pairBy(service, cpo, '000503', { uid: other })).status).toBe(503);
      expect((await pairBy(service, cpo, '000503', { uid: one, key })).status).toBe(200);
      expect((await pairBy(service, cpo, '000503', { uid: other })).status).toBe(200);
      expect(await outcomesOf(service, cpo)).toEqual(['paired', 'paired', 'unavailable', 'unavailable']);
    },
  );

  test('000504 pairs and closes the connection: a retry under the key gets 200, without a key 409', async () => {
    const [one, other] = [`A-${cpo.id.slice(-12)}`, `B-${cpo.id.slice(-12)}`];
    await expect(pairBy(service, cpo, '000504', { uid: one, key: 'a key' })).rejects.toThrow('fetch failed');
    const again = await pairBy(service, cpo, '000504', { uid: one, key: 'a key' });
    expect(again).toMatchObject({ status: 200, body: { charging_station: { uid: one } } });
    expect(again.headers.get('Idempotent-Replayed')).toBe('true');
    await expect(pairBy(service, cpo, '000504', { uid: other })).rejects.toThrow('fetch failed');
    expect((await pairBy(service, cpo, '000504', { uid: other })).status).toBe(409);
  });

  test('000200 pairs, every time', async () => {
    for (let i = 0; i < 2; i++) expect((await pairBy(service, cpo, '000200')).status).toBe(200);
  });

  test('a used code is an incorrect one: it counts, and at the limit the right code is refused too', async () => {
    const send = (code: string) => untilAnswered(() => pairBy(service, cpo, code));
    expect((await send('111111')).status).toBe(200);
    for (let i = 0; i < 20; i++) await send('111111');
    for (const code of ['111111', '122222'])
      expect((await send(code)).body.type).toBe('/problems/too-many-incorrect-codes');
  });

  test('of many requests at once one pairs', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => untilAnswered(() => pairBy(service, cpo, '133333'))),
    );
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 404)).toHaveLength(7);
  });

  test('nothing is left of a code that was not used', async () => {
    const uid = `S-${cpo.id.slice(-12)}`;
    await pairBy(service, cpo, '144444', { uid });
    await pairBy(service, cpo, '155555', { uid });
    const { rows } = await service.sql.query(
      `select status from pairing_codes where cpo_id = $1 union all
       select type from events where type = 'pairing.refused' and cpo_id = $1`,
      [cpo.id],
    );
    expect(rows).toEqual([{ status: 'used' }]);
  });
});

describe('answers that wait', () => {
  let slow: Harness;
  beforeEach(async () => {
    slow = await startHarness(
      { SANDBOX: 'true' },
      { testCodes: { lateMs: 600_000, withheldMs: 600_000 }, load: { requestsPerCaller: 20 } },
    );
  });
  afterEach(() => slow.stop());

  const waitingOf = (cpo: TestCpo, count: number) => untilSo(async () => (await uidsOf(slow, cpo)).length === count);

  test('are four of a CPO at a time, hold no slot, and end when the service stops', async () => {
    const cpo = await signUp(slow);
    const waiting = Array.from({ length: 4 }, (_, n) => pairBy(slow, cpo, n % 2 === 0 ? '000200' : '000504'));
    const ended = Promise.allSettled(waiting);
    await waitingOf(cpo, 4);
    const fifth = await pairBy(slow, cpo, '000200');
    expect([fifth.status, fifth.body.type]).toEqual([429, '/problems/too-many-requests']);
    expect((await pairBy(slow, await signUp(slow), '100000')).status).toBe(200);
    const others = await Promise.all(Array.from({ length: 4 }, () => pairBy(slow, cpo, '000404')));
    expect(others.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
    await slow.stop();
    const outcomes = (await ended).map((one) => (one.status === 'fulfilled' ? one.value.status : 'closed'));
    expect(outcomes).toEqual([200, 'closed', 200, 'closed']);
  });

  test('make way when the client disconnects', async () => {
    const cpo = await signUp(slow);
    const clients = Array.from({ length: 4 }, () => new AbortController());
    const sent = clients.map((client, n) =>
      fetch(`${slow.url}/v1/scsp/ocpi2.2.1/pair`, {
        method: 'POST',
        signal: client.signal,
        headers: { Authorization: `Bearer ${cpo.token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({
          code: '000504',
          evse: {
            uid: `E-${n}`,
            connectors: [{ id: '1', power_type: 'DC', max_voltage: 400, max_amperage: 200 }],
          },
        }),
      }),
    );
    const ended = Promise.allSettled(sent);
    await waitingOf(cpo, 4);
    for (const client of clients) client.abort();
    await ended;
    await untilSo(async () => (await pairBy(slow, cpo, '000504', { uid: 'E-1' })).status === 409);
  });
});

describe('codes that are issued', () => {
  test('are never test codes in a sandbox', async () => {
    const digits = ['123456', '000777', '100000', '000000'];
    const other = await startHarness(
      { SANDBOX: 'true' },
      { random: { ...random, digits: (count) => digits.shift() ?? `9${random.digits(count - 1)}` } },
    );
    expect((await other.code()).code).toMatch(/^9/);
    expect(digits).toEqual([]);
    await other.stop();
  });

  test('may be any value elsewhere, and a test code is an incorrect code there', async () => {
    const digits = ['123456'];
    const other = await startHarness({}, { random: { ...random, digits: (n) => digits.shift() ?? random.digits(n) } });
    expect((await other.code()).code).toBe('123456');
    const cpo = await other.cpo();
    for (const code of ['100000', '000200', '000404', '000409', '000429', '000500', '000503', '000504'])
      expect((await pairBy(other, cpo, code)).body.type).toBe('/problems/incorrect-code');
    await other.stop();
  });

  test.each(['99999', '1234567', '200000', '0004040', '1000000', '001000', '12345a', '１23456'])(
    '%s is not reserved',
    (code) => expect(isReserved(code)).toBe(false),
  );

  test('pair a CPO that an operator has added as everywhere', async () => {
    const backend = await startCpo(service, () => {});
    const { code } = await service.code();
    expect((await service.pair(backend, code)).status).toBe(200);
  });
});
