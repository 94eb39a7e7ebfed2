import { randomBytes, randomUUID } from 'node:crypto';
import { sendJson, startCpo } from '../harness/a-cpo';
import { answerStatus, type ReceivedEvent, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { aStation, type Harness, NO_LIMITS, startHarness } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true', LOG_LEVEL: 'debug', ...NO_LIMITS });
});
afterAll(() => service.stop());

const traceOf = ({ headers }: ReceivedEvent) => {
  const [, traceId, spanId, flags] = String(headers.traceparent).split('-');
  return { traceId, spanId, flags };
};
const typeOf = ({ body }: ReceivedEvent): string => JSON.parse(body).type;

/** Sends requests that each have a trace of their own, by a name. */
function traced() {
  const names = new Map<string, string>();
  const send = (name: string, method: string, path: string, token: string, body?: unknown) => {
    const traceId = randomBytes(16).toString('hex');
    names.set(traceId, name);
    return service.request(method, path, {
      token,
      body,
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
    });
  };
  return { send, nameOf: (traceId = '') => names.get(traceId) ?? 'a trace of its own' };
}

test('each event is delivered in the trace of the request that caused it, however late', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  await app.endpoint({ url: receiver.url });
  const cpo = await startCpo(service, (res, { path }) =>
    sendJson(res, 200, path.endsWith('/pair') ? { charging_station: aStation('Redeemed') } : { message: 'unpaired' }),
  );
  const { send, nameOf } = traced();
  const user_id = randomUUID();
  const issue = async (name: string, charging_location_id = 'home') =>
    (await send(name, 'POST', '/v1/app/pairing-codes', app.token, { user_id, charging_location_id })).body;
  const pair = (name: string, code: string, uid: string) =>
    send(name, 'POST', '/v1/scsp/ocpp2.0.1/pair', cpo.token, { code, charging_station: aStation(uid) });
  const caused: [string, string][] = [];

  await issue('replaced');
  const { id } = await issue('replacing');
  caused.push(['pairing_code.cancelled', 'replacing']);
  await send('cancel', 'DELETE', `/v1/app/pairing-codes/${id}`, app.token);
  caused.push(['pairing_code.cancelled', 'cancel']);
  await pair('pair', (await issue('issue')).code, 'Typed');
  caused.push(['station.paired', 'pair']);
  await pair('refused', (await issue('issue another', 'work')).code, 'Typed');
  caused.push(['pairing.refused', 'refused']);
  await send('unpair by app', 'POST', '/v1/app/charging-stations/Typed/unpair', app.token);
  caused.push(['station.unpaired', 'unpair by app'], ['cpo.notified', 'unpair by app']);
  await receiver.got(6);
  const redemption = { charging_location_id: 'home', cpo_id: cpo.id, payload_protocol: 'ocpp2.0.1', code: 'X' };
  await send('redeem', 'POST', '/v1/app/pairings', app.token, { user_id, ...redemption });
  caused.push(['station.paired', 'redeem']);
  await send('unpair by CPO', 'POST', '/v1/scsp/chargingstations/Redeemed/unpair', cpo.token);
  caused.push(['station.unpaired', 'unpair by CPO']);
  await pair('pair again', (await issue('issue once more')).code, 'Typed again');
  caused.push(['station.paired', 'pair again']);
  await receiver.got(9);
  await send('forget', 'DELETE', `/v1/app/users/${user_id}`, app.token);
  // The code for 'work' is active still; both pairings that have ended are erased, too.
  caused.push(['pairing_code.cancelled', 'forget'], ['station.unpaired', 'forget'], ['cpo.notified', 'forget']);
  for (let i = 0; i < 3; i++) caused.push(['pairing.erased', 'forget']);
  await receiver.got(caused.length);

  const delivered = receiver.received.map((event) => [typeOf(event), nameOf(traceOf(event).traceId)]);
  expect(delivered.sort()).toEqual(caused.sort());
  for (const { flags, spanId } of receiver.received.map(traceOf)) {
    expect(flags).toBe('01');
    expect(spanId).not.toBe('00f067aa0ba902b7');
  }
  expect(new Set(receiver.received.map((event) => traceOf(event).spanId)).size).toBe(caused.length);
});

test('each attempt has the trace, and a request id and span of its own, which the log has too', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(503))];
  const endpoint = await app.endpoint({ url: receiver.url, types: ['pairing_code.cancelled'] });
  const { id } = await service.code();
  const traceId = randomBytes(16).toString('hex');
  const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-00` };
  await service.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: app.token, headers });
  await endpoint.attempted(1);
  receiver.answer = answerStatus(204);
  await endpoint.due();
  await endpoint.settled();
  const [first, second] = receiver.received as [ReceivedEvent, ReceivedEvent];
  expect([first, second].map((event) => traceOf(event).traceId)).toEqual([traceId, traceId]);
  expect(traceOf(first).spanId).not.toBe(traceOf(second).spanId);
  expect(first.headers['x-request-id']).not.toBe(second.headers['x-request-id']);
  for (const [message, event] of [
    ['webhook event not delivered yet', first],
    ['webhook event delivered', second],
  ] as const) {
    const line = await service.log.waitFor((one) => one.message === message && one.endpoint_id === endpoint.id);
    const { spanId } = traceOf(event);
    expect(line).toMatchObject({ trace_id: traceId, span_id: spanId, request_id: event.headers['x-request-id'] });
  }
});

test('an event that no request caused has a trace of its own', async () => {
  const [app, receiver] = [await startApp(service), await startReceiver()];
  await app.endpoint({ url: receiver.url, types: ['pairing_code.expired'] });
  const { id } = await service.code();
  await service.sql.query(`update pairing_codes set expires_at = now() where id = $1`, [id]);
  await receiver.got(1);
  expect(receiver.received[0]?.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});
