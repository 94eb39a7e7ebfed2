import { randomUUID } from 'node:crypto';
import { issueToken } from '../../src/tokens/tokens';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
let replica: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  replica = await startHarness({ SANDBOX: 'true' }, { databaseUrl: service.databaseUrl });
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
});

const request = (cpo: { id: string }, user_id: string = randomUUID()) => ({
  user_id,
  charging_location_id: 'home',
  cpo_id: cpo.id,
  payload_protocol: 'ocpp2.0.1',
  code: randomUUID(),
});
const send = (key: string, body: object, { by = service, token = service.appToken } = {}) =>
  by.request('POST', '/v1/app/pairings', { token, body, headers: { 'Idempotency-Key': key } });

test('a retry gets the first response, on every replica, and the CPO is asked once', async () => {
  const station = aStation();
  const cpo = await startCpo(service, answerStation(station.uid));
  const [key, body] = [randomUUID(), request(cpo)];
  const first = await send(key, body);
  expect([first.status, first.headers.get('Idempotent-Replayed')]).toEqual([201, null]);
  for (const by of [service, replica]) {
    const again = await send(key, body, { by });
    expect([again.status, again.body]).toEqual([201, first.body]);
    expect(again.headers.get('Location')).toBe(first.headers.get('Location'));
    expect(again.headers.get('Idempotent-Replayed')).toBe('true');
  }
  expect(cpo.received).toHaveLength(1);

  // It survives an unpair, and another pairing of the uid.
  cpo.answer = (res) => sendJson(res, 200, { message: 'ok' });
  await service.unpairAsApp(station.uid);
  await service.pair(await service.cpo(), (await service.code()).code, aStation(station.uid));
  expect((await send(key, body)).body).toEqual(first.body);
});

test('404 and 409 are stored, what may go better next time is not', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 404, { message: 'no' }));
  const [key, body] = [randomUUID(), request(cpo)];
  const first = await send(key, body);
  expect(first.status).toBe(404);
  const again = await send(key, body);
  expect([again.status, again.body, again.headers.get('Idempotent-Replayed')]).toEqual([404, first.body, 'true']);
  expect(cpo.received).toHaveLength(1);

  const taken = aStation();
  await service.pair(await service.cpo(), (await service.code()).code, taken);
  cpo.answer = answerStation(taken.uid);
  const [conflictKey, conflict] = [randomUUID(), request(cpo)];
  expect((await send(conflictKey, conflict)).status).toBe(409);
  const asked = cpo.redemptions().length;
  expect((await send(conflictKey, conflict)).headers.get('Idempotent-Replayed')).toBe('true');
  expect(cpo.redemptions()).toHaveLength(asked);

  cpo.answer = (res) => sendJson(res, 500, {});
  const [failedKey, failed] = [randomUUID(), request(cpo)];
  expect((await send(failedKey, failed)).status).toBe(502);
  cpo.answer = answerStation();
  expect((await send(failedKey, failed)).status).toBe(201);
});

test('a code of nothing but space is stored as incorrect too', async () => {
  const cpo = await startCpo(service, answerStation());
  const [key, body] = [randomUUID(), { ...request(cpo), code: ' ' }];
  const first = await send(key, body);
  expect(first.status).toBe(404);
  const again = await send(key, body);
  expect([again.status, again.body, again.headers.get('Idempotent-Replayed')]).toEqual([404, first.body, 'true']);
  expect(cpo.received).toEqual([]);
});

test('while the CPO is asked, a retry gets idempotency-in-progress, and another body is refused', async () => {
  let answer = () => {};
  const cpo = await startCpo(service, (res) => {
    answer = () => answerStation()(res, { method: '', path: '', headers: {}, body: '' });
  });
  const [key, body] = [randomUUID(), request(cpo)];
  const first = send(key, body);
  await cpo.asked(1);
  const second = await send(key, body, { by: replica });
  expect([second.status, second.body.type]).toEqual([409, '/problems/idempotency-in-progress']);
  expect(Number(second.headers.get('Retry-After'))).toBeGreaterThan(10);
  expect((await send(key, request(cpo))).status).toBe(422);
  answer();
  expect((await first).status).toBe(201);
  expect((await send(key, body)).status).toBe(201);
  expect(cpo.received).toHaveLength(1);
});

test('a redemption whose key was taken over meanwhile pairs nothing, and the CPO is notified', async () => {
  const answers: (() => void)[] = [];
  const uids = [randomUUID(), randomUUID()];
  const cpo = await startCpo(service, (res, { path }) => {
    if (!path.endsWith('/pair')) return sendJson(res, 200, { message: 'ok' });
    const uid = uids[answers.length];
    answers.push(() => sendJson(res, 200, { charging_station: aStation(uid) }));
  });
  const [key, body] = [randomUUID(), request(cpo)];
  const late = send(key, body);
  await cpo.asked(1);
  await service.sql.query('update idempotency_keys set lease_until = now() where key = $1', [key]);
  const taken = send(key, body, { by: replica });
  await cpo.asked(2);
  answers[1]?.();
  expect([(await taken).status, (await taken).body.uid]).toEqual([201, uids[1]]);
  answers[0]?.();
  expect([(await late).status, (await late).body.type]).toEqual([409, '/problems/idempotency-in-progress']);
  await untilSo(() => cpo.received.some(({ path }) => path.endsWith(`/${uids[0]}/unpair`)));
  expect((await send(key, body)).body.uid).toBe(uids[1]);
});

test('after the user was forgotten the replay is 404', async () => {
  const cpo = await startCpo(service, answerStation());
  const user_id = randomUUID();
  const [key, body] = [randomUUID(), request(cpo, user_id)];
  expect((await send(key, body)).status).toBe(201);
  cpo.answer = (res) => sendJson(res, 200, { message: 'ok' });
  await service.request('DELETE', `/v1/app/users/${user_id}`, { token: service.appToken });
  const again = await send(key, body);
  expect([again.status, again.body.type]).toEqual([404, '/problems/user-forgotten']);
});

test('a key counts for its app, whichever token it sends', async () => {
  const cpo = await startCpo(service, answerStation());
  const [key, body] = [randomUUID(), request(cpo)];
  expect((await send(key, body)).status).toBe(201);
  const { token: same } = await issueToken(service.operator, { role: 'app', appName: 'test app' });
  const { token: other } = await issueToken(service.operator, { role: 'app', appName: 'another app' });
  for (const token of [same, other]) {
    service.secrets.add(token);
    await untilSo(async () => (await service.request('GET', '/v1/app/cpos', { token })).status === 200);
  }
  expect((await send(key, body, { token: same })).headers.get('Idempotent-Replayed')).toBe('true');
  const asOther = await send(key, body, { token: other });
  expect([asOther.status, asOther.headers.get('Idempotent-Replayed')]).toEqual([201, null]);
});
