import type { Socket } from 'node:net';
import { clientChecks } from '../../src/conformance/client/judge';
import { TIMES } from '../../src/conformance/client/times';
import { KEPT } from '../../src/sandbox/certification/observer';
import { doAllSteps, loadCaller } from '../conformance/client/sample-caller';
import { CERTIFICATION, itemsOf } from '../harness/certification';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';
import { leaks } from '../harness/leaks';
import { openRaw } from '../harness/raw-http';
import { pairBy, signUp } from '../harness/self-service';
import { until, untilSo } from '../harness/until';

/** As long as the sandbox waits in this test. */
const WAITS = { lateMs: 1_000, withheldMs: 500 };
const times = { ...TIMES, slowMs: WAITS.lateMs, withheldMs: WAITS.withheldMs, quietMs: 200, patienceMs: 200 };

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { testCodes: WAITS, certification: { times } });
});
afterAll(() => service.stop());

const storedOf = async (cpo: TestCpo): Promise<any[]> => {
  const { rows } = await service.sql.query('select request from observed_requests where cpo_id = $1 order by id', [
    cpo.id,
  ]);
  return rows.map(({ request }) => request);
};
const untilStored = (cpo: TestCpo, count: number) => untilSo(async () => (await storedOf(cpo)).length >= count);
const verdictsOf = async (cpo: TestCpo) =>
  Object.fromEntries((await itemsOf(service, cpo, 'client')).map(({ id, verdict }) => [id, verdict]));
const untilVerdict = async (cpo: TestCpo, id: string, verdict: string) =>
  expect(
    (
      await until(
        (now) => now[id] === verdict,
        () => verdictsOf(cpo),
        30_000,
      )
    )[id],
  ).toBe(verdict);

test('the sample caller of the guide passes every check by its traffic alone', async () => {
  const cpo = await signUp(service);
  await doAllSteps(loadCaller({ url: service.url, token: cpo.token }, [['ATTEMPTS = 4', 'ATTEMPTS = 2']]));
  const allPassed = Object.fromEntries(clientChecks.map(({ id }) => [id, 'passed']));
  await until(
    (now) => Object.values(now).every((one) => one === 'passed'),
    () => verdictsOf(cpo),
    10_000,
  );
  expect(await verdictsOf(cpo)).toEqual(allPassed);
  for (const { evidence, last_seen_at } of await itemsOf(service, cpo, 'client')) {
    expect(evidence).toEqual({ request_id: expect.any(String), at: last_seen_at });
    expect(evidence).not.toHaveProperty('note');
  }
});

test('nothing is stored of a request but what the checks need', async () => {
  const cpo = await signUp(service);
  await pairBy(service, cpo, '482913', { uid: 'mine', key: 'a-secret-key' });
  await pairBy(service, cpo, '482913', { uid: '482-913' });
  await service.request('POST', `/v1/scsp/chargingstations/${cpo.token}/unpair`, { token: cpo.token });
  await service.request('GET', `/v1/scsp/charging-stations?access_token=${cpo.token}`, { token: cpo.token });
  await untilStored(cpo, 4);
  const stored = await storedOf(cpo);
  expect(leaks(JSON.stringify(stored), ['482913', 'a-secret-key', 'scsp_cpo'])).toEqual([]);
  expect(stored.map(({ operation, uid, tokenAlsoIn }) => [operation, uid, tokenAlsoIn])).toEqual([
    ['pair', 'mine', undefined],
    ['pair', undefined, undefined],
    ['unpair', undefined, 'address'],
    ['list', undefined, 'address'],
  ]);
  expect(Object.keys(stored[0]).sort()).toEqual(
    ['answer', 'at', 'codeSentAs', 'isJson', 'keyHash', 'operation', 'protocol', 'requestId', 'token', 'uid'].sort(),
  );
});

describe('mistakes that are refused before they reach an operation count, too:', () => {
  const ask = (cpo: TestCpo, path: string, init: RequestInit = {}) =>
    fetch(service.url + path, {
      method: 'POST',
      redirect: 'manual',
      ...init,
      headers: { Authorization: `Bearer ${cpo.token}`, ...init.headers },
    });
  const body = (code: unknown) =>
    JSON.stringify({
      code,
      charging_station: {
        uid: 'S-1',
        evses: [{ evse_id: 1, connectors: [{ id: '1', power_type: 'DC', max_voltage: 400, max_amperage: 9 }] }],
      },
    });
  const PAIR = '/v1/scsp/ocpp2.0.1/pair';
  const json = { 'Content-Type': 'application/json' };

  test.each<[string, string, (cpo: TestCpo) => Promise<unknown>]>([
    [
      'a token in the query, with none in the header',
      'client-token-in-header-only',
      (cpo) => fetch(`${service.url}${PAIR}?token=${cpo.token}`, { method: 'POST', headers: json, body: body('1') }),
    ],
    [
      'a token in the query beside the one in the header',
      'client-token-in-header-only',
      (cpo) => ask(cpo, `${PAIR}?token=${cpo.token}`, { headers: json, body: body('1') }),
    ],
    [
      'another media type',
      'client-json',
      (cpo) => ask(cpo, PAIR, { headers: { 'Content-Type': 'text/plain' }, body: body('1') }),
    ],
    ['a body that is not JSON', 'client-body-valid', (cpo) => ask(cpo, PAIR, { headers: json, body: '{' })],
    [
      'a station without evses',
      'client-body-valid',
      (cpo) => ask(cpo, PAIR, { headers: json, body: '{"code":"1","charging_station":{"uid":"x"}}' }),
    ],
    ['a code as a number', 'client-code-as-string', (cpo) => ask(cpo, PAIR, { headers: json, body: body(404) })],
    [
      'a code without its zeros',
      'client-code-as-string',
      (cpo) => ask(cpo, PAIR, { headers: json, body: body('404') }),
    ],
    ['a uid that is not encoded', 'client-uid-encoded', (cpo) => ask(cpo, '/v1/scsp/chargingstations/a/b/unpair')],
    [
      'a redirect that is followed',
      'client-no-redirect',
      (cpo) => ask(cpo, PAIR, { headers: json, body: body('000307'), redirect: 'follow' }),
    ],
  ])('%s', async (_name, id, send) => {
    const cpo = await signUp(service);
    // A request that is refused before its token is checked counts as soon as this process knows the token.
    await untilSo(async () => {
      await send(cpo);
      return (await verdictsOf(cpo))[id] === 'failed';
    });
  });

  test.each([
    ['the connection', (socket: Socket) => socket.destroy()],
    ['its half of the connection', (socket: Socket) => socket.end()],
  ])('a caller that closes %s before the answer to 000200', async (_what, close) => {
    const cpo = await signUp(service);
    const { socket } = await openRaw(service.url);
    const [text, media] = [body('000200'), 'Content-Type: application/json'];
    socket.write(
      `POST ${PAIR} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${cpo.token}\r\n${media}\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    );
    const paired = 'select from pairings where cpo_id = $1';
    await untilSo(async () => (await service.sql.query(paired, [cpo.id])).rowCount === 1);
    close(socket);
    await untilStored(cpo, 1);
    expect((await verdictsOf(cpo))['client-waits-10-s']).toBe('failed');
  });

  test('a uid that is encoded twice', async () => {
    const cpo = await signUp(service);
    await pairBy(service, cpo, '100003', { uid: 'KIT/12#50%' });
    await ask(cpo, `/v1/scsp/chargingstations/${encodeURIComponent(encodeURIComponent('KIT/12#50%'))}/unpair`);
    await untilVerdict(cpo, 'client-uid-encoded', 'failed');
  });

  test('of a token that is not known nothing is recorded', async () => {
    const cpo = await signUp(service);
    await ask({ ...cpo, token: 'scsp_cpo_unknown' }, PAIR, { headers: json, body: body('1') });
    await pairBy(service, cpo, '000404');
    await untilStored(cpo, 1);
    expect(await storedOf(cpo)).toMatchObject([{ code: '000404', token: 'header' }]);
    const { rows } = await service.sql.query(`select from observed_requests where request ->> 'token' = 'unknown'`);
    expect(rows).toEqual([]);
  });
});

test('another CPO sees nothing of it', async () => {
  const [cpo, other] = [await signUp(service), await signUp(service)];
  await pairBy(service, cpo, '000404');
  await untilStored(cpo, 1);
  expect(new Set(Object.values(await verdictsOf(other)))).toEqual(new Set(['not_run']));
});

test('a CPO that an operator added is told that its requests are not judged', async () => {
  const items = await itemsOf(service, await service.cpo(), 'client');
  expect(items.length).toBeGreaterThan(10);
  for (const { verdict, needs } of items)
    expect([verdict, needs]).toEqual(['not_run', expect.stringContaining('POST /v1/sandbox/cpos')]);
});

test('so many requests of a CPO are kept, the latest', async () => {
  const cpo = await signUp(service);
  await service.sql.query(
    `insert into observed_requests (id, cpo_id, observed_at, request)
     select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, now(), '{}' from generate_series(1, $2) n`,
    [cpo.id, KEPT + 7],
  );
  await pairBy(service, cpo, '000404');
  await untilSo(async () => (await storedOf(cpo)).at(-1)?.code === '000404');
  expect(await storedOf(cpo)).toHaveLength(KEPT + 1);
  expect(KEPT).toBe(500);
});

test('the times by which callers are judged are those of the kit, as they ship', () =>
  expect(CERTIFICATION.times).toEqual(TIMES));
