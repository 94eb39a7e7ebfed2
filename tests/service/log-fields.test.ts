import { randomUUID } from 'node:crypto';
import { sendJson, startCpo } from '../harness/a-cpo';
import { startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { anIncorrectCode, aStation, type Harness, type LogLine, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', LIMIT_CPO_24H: '2' });
});
afterAll(() => service.stop());

/** Lines that no request or event causes. The later ones are written while the machine is busy. */
const OF_THE_PROCESS =
  /^(migrated|listening|code expired|notifications (lost|restored).*|tokens could not be read.*|.* failed, retrying|retention failed|.*: nothing can be claimed now)$/;
const isOfTheProcess = ({ message, operation }: LogLine) => OF_THE_PROCESS.test(message) || operation === 'ready';
/** Lines and operations that concern no CPO, or none that is known. */
const WITHOUT_CPO = ['user forgotten', 'code cancelled', 'forgetUser', 'cancelCode', 'createWebhookEndpoint', 'none'];
/** Lines and operations that concern no pairing or code, or none that is known. */
const WITHOUT_SUBJECT = [
  ...['user forgotten', 'forgetUser', 'createWebhookEndpoint', 'none', 'pairing refused', 'database unavailable'],
  ...['a CPO has used up its incorrect codes of 24 hours: see scsp cpo limits', 'call to a CPO failed'],
];

/** Names what a line lacks of the ids by which operators search. */
function lacking(line: LogLine): string[] {
  const name = line.message === 'request' ? String(line.operation) : line.message;
  const failed = line.message === 'request' && Number(line.status) >= 400;
  // A call that redeems a code is made before there is a pairing.
  // The event of a code that ended without pairing names no CPO.
  const withoutCpo = WITHOUT_CPO.includes(name) || (name.startsWith('webhook event') && line.pairing_id === undefined);
  const withoutSubject =
    WITHOUT_SUBJECT.includes(name) || failed || (name === 'CPO called' && line.operation === 'pair');
  const wanted = [
    ...['request_id', 'trace_id', 'span_id'],
    ...(withoutCpo ? [] : ['cpo_id']),
    ...(withoutSubject ? [] : ['pairing_id or code_id']),
  ];
  return wanted.filter((field) => field.split(' or ').every((one) => typeof line[one] !== 'string'));
}

const ofRequests = () => service.log.lines.filter((line) => !isOfTheProcess(line));
const incomplete = () =>
  ofRequests().flatMap((line) => {
    const missing = lacking(line);
    return missing.length > 0 ? [`${line.message} ${line.operation ?? ''} lacks ${missing.join(', ')}`] : [];
  });
const waitFor = (message: string, fields: Record<string, unknown>) =>
  service.log.waitFor(
    (line) => line.message === message && Object.entries(fields).every(([name, value]) => line[name] === value),
  );

test('every log line of a request or event has the ids of its request, trace, CPO, and pairing or code', async () => {
  const receiver = await startReceiver();
  const app = await startApp(service);
  await app.endpoint({ url: receiver.url });
  let up = false;
  const cpo = await startCpo(service, (res, { path }) => {
    if (path.endsWith('/pair')) return sendJson(res, 200, { charging_station: aStation('Redeemed') });
    sendJson(res, up ? 200 : 503, { message: 'as it is' });
  });
  const user_id = randomUUID();
  const code = await service.code({ user_id, cpo_id: cpo.id });
  await service.followCode(code.id);
  for (let i = 0; i < 2; i++) expect((await service.pair(cpo, anIncorrectCode())).status).toBe(404);
  await service.sql.query('delete from failed_attempts');
  await service.sql.query(`update cpo_tries set last_failed_at = null, failed_count = 0`);
  expect((await service.pair(cpo, code.code, aStation('Typed'))).status).toBe(200);
  expect((await service.request('GET', '/v1/app/charging-stations/Typed', { token: app.token })).status).toBe(200);
  expect((await service.redeem(cpo, 'A-CODE', { user_id })).status).toBe(201);
  const traceId = 'ab'.repeat(16);
  const unpair = await service.request('POST', '/v1/app/charging-stations/Typed/unpair', {
    token: app.token,
    headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, 'X-Request-ID': 'the-unpair' },
  });
  expect(unpair.status).toBe(200);
  expect((await service.unpairAsCpo(cpo, 'Redeemed')).status).toBe(200);
  expect((await service.request('GET', '/v1/app/nothing', { token: app.token })).status).toBe(404);
  expect((await service.unpairAsCpo(cpo, 'Redeemed')).status).toBe(404);

  await waitFor('CPO not notified of an unpairing yet', { trace_id: traceId });
  up = true;
  await service.sql.query(
    `update outbox set created_at = created_at - interval '2 days', next_attempt_at = now(), leased_until = null`,
  );
  const notified = await waitFor('CPO notified of an unpairing', {});
  expect(notified).toMatchObject({ trace_id: traceId, request_id: 'the-unpair' });
  expect(cpo.received.map(({ headers }) => headers.traceparent?.toString().slice(3, 35)).slice(-2)).toEqual([
    traceId,
    traceId,
  ]);
  const cancelled = await service.code({ user_id, cpo_id: cpo.id });
  const path = `/v1/app/pairing-codes/${cancelled.id}`;
  expect((await service.request('DELETE', path, { token: app.token })).status).toBe(204);
  expect((await service.request('DELETE', `/v1/app/users/${user_id}`, { token: app.token })).status).toBe(204);
  await waitFor('request', { operation: 'forgetUser' });
  for (const type of ['station.paired', 'station.unpaired', 'cpo.notified', 'pairing_code.cancelled'])
    await untilSo(async () => receiver.received.some(({ body }) => JSON.parse(body).type === type));
  await untilSo(
    async () => service.log.lines.filter(({ message }) => message === 'webhook event delivered').length > 3,
  );

  expect(incomplete()).toEqual([]);
  const wanted = [
    'CPO called',
    'CPO not notified of an unpairing yet',
    'CPO notified of an unpairing',
    'a CPO has used up its incorrect codes of 24 hours: see scsp cpo limits',
    'code cancelled',
    'code issued',
    'pairing refused',
    'request',
    'station paired',
    'station unpaired',
    'user forgotten',
    'webhook event delivered',
  ];
  expect(ofRequests().map(({ message }) => message)).toEqual(expect.arrayContaining(wanted));
});

test('a correct code that met a paired station is in the lines of its request', async () => {
  const cpo = await service.cpo();
  const [first, second] = [await service.code(), await service.code()];
  expect((await service.pair(cpo, first.code, aStation('Taken'))).status).toBe(200);
  const { status, body } = await service.pair(cpo, second.code, aStation('Taken'));
  expect(status).toBe(409);
  for (const message of ['pairing refused', 'request'])
    expect(await waitFor(message, { request_id: body.request_id })).toMatchObject({ code_id: second.id });
});

test('a line that lacks an id is found', () => {
  const line = { level: 'info', message: 'station paired', request_id: 'r', trace_id: 't', span_id: 's', cpo_id: 'c' };
  expect(lacking(line)).toEqual(['pairing_id or code_id']);
  expect(lacking({ ...line, pairing_id: 'p', trace_id: undefined })).toEqual(['trace_id']);
  expect(lacking({ level: 'info', message: 'request', operation: 'pairOcpp', status: 200 })).toHaveLength(5);
});
