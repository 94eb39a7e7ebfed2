import type { SandboxCpo } from '../../src/sandbox/cpo';
import { delayOf, scenarios } from '../../src/sandbox/scenarios';
import { quietSandboxCpo, TOKEN } from '../harness/a-sandbox-cpo';

const INCORRECT = { message: 'Incorrect Code, please check the code and try again.' };

let cpo: SandboxCpo;
beforeAll(async () => {
  cpo = await quietSandboxCpo();
});
afterAll(() => cpo.stop());

const post = (path: string, body?: string, token = TOKEN) =>
  fetch(`${cpo.url}${path}`, {
    method: 'POST',
    redirect: 'manual',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body }),
  });
const pair = (code: string) => post('/v1/cpo/ocpp2.0.1/pair', JSON.stringify({ code }));
const unpair = (uid: string) => post(`/v1/cpo/chargingstations/${uid}/unpair`);

test.each(['hasOwnProperty', '__proto__', 'constructor', 'toString', '000499', '400000', '500000', '000409', '600000'])(
  'the code %s is an incorrect one',
  async (code) => {
    const answer = await pair(code);
    expect([answer.status, await answer.json()]).toEqual([404, INCORRECT]);
  },
);

test('a code that begins with 1 is used up until its station is unpaired, one with 2 never', async () => {
  const statuses = async (code: string) => [(await pair(code)).status, (await pair(code)).status];
  expect(await statuses('100001')).toEqual([200, 404]);
  expect((await unpair('sandbox-100001')).status).toBe(200);
  expect(await statuses('100001')).toEqual([200, 404]);
  expect(await statuses('200001')).toEqual([200, 200]);
});

test.each([
  ['000307', 307, { location: '/elsewhere' }],
  ['000400', 400, {}],
  ['000401', 401, { 'www-authenticate': 'Bearer' }],
  ['000404', 404, {}],
  ['000429', 429, { 'retry-after': '2' }],
  ['000500', 500, {}],
])('the code %s is answered %i', async (code, status, headers) => {
  const answer = await pair(code);
  expect(answer.status).toBe(status);
  expect(Object.fromEntries(answer.headers)).toMatchObject(headers);
});

test('the code 000503 is answered 503 the first time, and again after an unpair', async () => {
  for (let time = 1; time <= 2; time += 1) {
    const first = await pair('000503');
    expect([first.status, first.headers.get('retry-after')]).toEqual([503, '1']);
    expect((await pair('000503')).status).toBe(200);
    expect((await pair('000503')).status).toBe(200);
    expect((await unpair('SANDBOX-000503')).status).toBe(200);
  }
});

test('the station of 000200 comes after 9 s, and the connection of 000504 is closed after 20 s', () => {
  expect([delayOf('000200'), delayOf('100000'), scenarios['000504']]).toEqual([9_000, 0, { afterMs: 20_000 }]);
});

test('a request without the token is answered 401 before its body is read', async () => {
  for (const body of ['{', undefined, '{"code": "100002"}']) {
    const answer = await post('/v1/cpo/ocpp2.0.1/pair', body, 'wrong');
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  }
});

test('a message about a broken body does not quote it', async () => {
  const answer = await post('/v1/cpo/ocpp2.0.1/pair', '{"code": "100003" secret');
  expect([answer.status, await answer.json()]).toEqual([400, { message: 'The body is not valid JSON.' }]);
});
