import { type ClientKit, startClientKit } from '../../../src/conformance/client/kit';
import { steps } from '../../../src/conformance/client/steps';
import { scaledTimes } from '../../../src/conformance/client/times';
import { readContract } from '../../../src/contract/document';
import { jsonValidator } from '../../../src/contract/validate-json';
import evse from '../../fixtures/ocpi/evse.json';
import { endLater } from '../../harness/clean-up';
import { aStation } from '../../harness/harness';
import { leaks } from '../../harness/leaks';
import { untilSo } from '../../harness/until';

const TOKEN = 'scsp_cpo_of-the-kit-in-a-test';
const KEY = 'a-key-of-the-caller';
const OCPP = '/v1/scsp/ocpp1.6/pair';
const validate = jsonValidator(readContract().document);

let kit: ClientKit;
beforeEach(async () => {
  const started = await startClientKit({
    validate,
    host: '127.0.0.1',
    port: 0,
    token: TOKEN,
    times: scaledTimes(0.01),
  });
  endLater(started.stop);
  kit = started;
});

async function send(path: string, body?: unknown, headers: Record<string, string> = {}, method = 'POST') {
  const response = await fetch(kit.url + path, {
    method,
    redirect: 'manual',
    headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json', ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
}
const pair = (code: unknown, uid = 'KIT-1', headers = {}) =>
  send(OCPP, { code, charging_station: aStation(uid) }, headers);

/** The latest request, once its answer is known. */
async function observed() {
  await untilSo(() => kit.requests().every(({ answer }) => answer !== undefined));
  return kit.requests().at(-1);
}

test('answers to a pair request fit the contract, apart from what is new on purpose', async () => {
  const { status, body } = await pair('100003');
  expect(status).toBe(200);
  expect(validate('PairOcppResponse', body, () => false)).toEqual([]);
  expect(body).toEqual({ message: 'Charging station successfully paired.', charging_station: aStation('KIT-1') });
  const added = (await pair('100001', 'KIT-2')).body;
  expect(validate('PairOcppResponse', added, () => false)).toEqual([]);
  expect(Object.keys(added)).toEqual(['message', 'charging_station', 'added_later']);
});

test.each([
  ['000400', 400, '/problems/invalid-request', null],
  ['000404', 404, '/problems/incorrect-code', null],
  ['000409', 409, '/problems/station-already-paired', null],
  ['000414', 404, '/problems/incorrect-code', null],
  ['000429', 429, '/problems/too-many-incorrect-codes', '1'],
  ['000500', 500, '/problems/internal-error', null],
  ['000503', 503, '/problems/unavailable', '1'],
  ['200000', 404, '/problems/incorrect-code', null],
  ['362821', 404, '/problems/incorrect-code', null],
])('the code %s is answered %i, as a problem of the contract', async (code, status, type, retryAfter) => {
  const answer = await pair(code);
  expect({ status: answer.status, type: answer.body.type }).toEqual({ status, type });
  expect(answer.headers.get('Retry-After')).toBe(retryAfter);
  expect(validate('Problem', answer.body, () => false)).toEqual([]);
});

test('a redirect leads to where the kit sees who follows it', async () => {
  const { status, headers } = await pair('000307');
  expect({ status, location: headers.get('Location') }).toEqual({ status: 307, location: `/elsewhere${OCPP}` });
  expect((await send(`/elsewhere${OCPP}`, {})).status).toBe(404);
  expect(await observed()).toEqual(expect.objectContaining({ operation: 'redirected', token: 'header' }));
});

test('a lost answer has paired: the same key gets 200, no key 409, and the list has the station', async () => {
  await expect(pair('000504', 'KIT-7', { 'Idempotency-Key': KEY })).rejects.toThrow();
  const replayed = await pair('000504', 'KIT-7', { 'Idempotency-Key': `"${KEY}"` });
  expect(replayed.status).toBe(200);
  expect(replayed.headers.get('Idempotent-Replayed')).toBe('true');
  expect((await pair('000504', 'KIT-7')).status).toBe(409);
  const { body } = await send('/v1/scsp/charging-stations', undefined, {}, 'GET');
  expect(body).toEqual({
    items: [{ uid: 'KIT-7', payload_protocol: 'ocpp1.6', paired_at: expect.any(String) }],
    next_cursor: null,
  });
  expect((await send('/v1/scsp/chargingstations/kit-7/unpair')).status).toBe(200);
  expect((await send('/v1/scsp/evse/KIT-7/unpair')).status).toBe(404);
});

test('a code of 1xxxxx is used up until its station is unpaired', async () => {
  expect((await pair('123456', 'KIT-1')).status).toBe(200);
  expect((await pair('123456', 'KIT-2')).status).toBe(404);
  await send('/v1/scsp/chargingstations/KIT-1/unpair');
  expect((await pair('123456', 'KIT-2')).status).toBe(200);
});

test('a station in OCPI format is judged by its own schema', async () => {
  const { status, body } = await send('/v1/scsp/ocpi2.2.1/pair', { code: '012345', evse });
  expect(status).toBe(200);
  expect(body.evse).toEqual(evse);
  expect((await observed())?.errors).toBeUndefined();
  await send('/v1/scsp/ocpi2.2.1/pair', { code: '012345', charging_station: aStation('KIT-1') });
  expect((await observed())?.errors).toEqual([{ pointer: '/evse', message: 'is required' }]);
});

test('white space and dashes in a code are those of the customer', async () => {
  expect((await pair('012-345 ')).status).toBe(200);
  expect(await observed()).toEqual(expect.objectContaining({ code: '012345', codeSentAs: 'string' }));
});

test('what is kept of a request holds no token, no code of a customer and no Idempotency-Key', async () => {
  await pair('362821', 'KIT-1', { 'Idempotency-Key': KEY, 'X-Other': TOKEN });
  await pair(362821, 'KIT-1');
  await send(OCPP, { code: '000404', charging_station: { uid: 362821, evses: TOKEN } });
  await send(`${OCPP}?access_token=${TOKEN}`, `{"code": "362821`);
  await observed();
  expect(leaks(JSON.stringify(kit.requests()), [TOKEN, '362821', KEY])).toEqual([]);
  expect(kit.requests().map(({ tokenAlsoIn }) => tokenAlsoIn)).toEqual([
    'another header',
    undefined,
    'body',
    'address',
  ]);
});

test.each([
  ['missing', '', 'Bearer'],
  ['unknown', 'Bearer another', 'Bearer error="invalid_token"'],
  ['unknown', `Basic ${TOKEN}`, 'Bearer error="invalid_token"'],
])('a %s token in "%s" is answered 401', async (token, authorization, challenge) => {
  const response = await fetch(kit.url + OCPP, { method: 'POST', headers: authorization ? { authorization } : {} });
  expect(response.status).toBe(401);
  expect(response.headers.get('WWW-Authenticate')).toBe(challenge);
  expect((await observed())?.token).toBe(token);
});

test.each([
  ['a body without a code', { charging_station: aStation('KIT-1') }, 400],
  ['a body without a uid', { code: '000404', charging_station: {} }, 400],
  ['a body that is no object', '[]', 400],
  ['a body that is no JSON', '{', 400],
  ['an empty body', '', 400],
  ['a uid that is too long', { code: '000404', charging_station: aStation('x'.repeat(49)) }, 400],
  ['a body that is too large', `"${'x'.repeat(70_000)}"`, 413],
])('%s is answered', async (_name, body, status) => expect((await send(OCPP, body)).status).toBe(status));

test('a caller that repeats without end does not use up the memory', async () => {
  for (let times = 0; times < 510; times += 1) await pair('000404');
  expect(kit.requests().length).toBe(500);
});

test('each step has a station and a code of its own', () => {
  expect(new Set(steps.map(({ uid }) => uid)).size).toBe(steps.length);
  expect(new Set(steps.map(({ code }) => code)).size).toBe(steps.length);
});
