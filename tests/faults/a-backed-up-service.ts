import { randomUUID } from 'node:crypto';
import { revokeToken } from '../../src/tokens/revoke';
import { sendJson, startCpo } from '../harness/a-cpo';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { type Endpoint, startApp } from '../harness/an-app';
import { type AnEvent, endOf, eventsAfter, followUntil } from '../harness/feed';
import { aStation, type Harness, NO_LIMITS, startHarness, type TestCpo } from '../harness/harness';
import { untilSo } from '../harness/until';

export const startService = (databaseUrl: string) => startHarness({ ...NO_LIMITS, SANDBOX: 'true' }, { databaseUrl });

export type BackedUp = Awaited<ReturnType<typeof backUpDuringLoad>>;

/**
 * A service whose database is backed up while it pairs, and that goes on afterwards: what happens then is in no backup.
 * @param service stopped at the end
 * @param backUp makes the backups
 */
export async function backUpDuringLoad(service: Harness, backUp: () => Promise<void>) {
  const receiver = await startReceiver(answerStatus(503));
  const app = await startApp(service);
  // Not told of the load: 10 failed deliveries would open its circuit for 30 s.
  const endpoint = await app.endpoint({ url: receiver.url, types: ['station.unpaired'] });
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  const leaked = await service.cpo();
  const gone = { user_id: randomUUID() };
  const station = aStation();
  const firstKey = `"${randomUUID()}"`;
  const first = { code: (await service.code()).code, charging_station: station };

  // In every backup: pairings, a code, a stored response, and what could not be delivered yet.
  expect((await pairWithKey(service, cpo, firstKey, first)).status).toBe(200);
  const unpaired = await pair(service, cpo);
  await pair(service, cpo, gone);
  const unused = await service.code();
  expect((await service.unpairAsApp(unpaired.uid)).status).toBe(200);
  await cpo.asked(1);
  await endpoint.attempted(1);
  const pendingIds = [...new Set(receiver.ids())];

  const load = pairContinuously(service, leaked);
  await untilSo(() => load.uids.length >= 20);
  const acknowledged = [...load.uids];
  await backUp();
  await load.stop();

  // In no backup: the code is used, what waited is delivered, a user is forgotten and a token revoked.
  const until = (await service.sql.query('select clock_timestamp()::text as now')).rows[0].now;
  cpo.answer = (res) => sendJson(res, 200, { message: 'ok' });
  receiver.answer = answerStatus(204);
  await deliverPending(service, endpoint);
  const lastKey = `"${randomUUID()}"`;
  const last = { code: unused.code, charging_station: aStation() };
  expect((await pairWithKey(service, cpo, lastKey, last)).status).toBe(200);
  const forgotten = await service.request('DELETE', `/v1/app/users/${gone.user_id}`, { token: service.appToken });
  expect(forgotten.status).toBe(204);
  const { rows } = await service.sql.query('select id from tokens where cpo_id = $1', [leaked.id]);
  await revokeToken(service.operator, rows[0].id);
  await followUntil(service, '0', ({ type }) => type === 'pairing.erased');
  const events = await everyEvent(service);
  const end = await endOf(service);
  return {
    ...{ service, receiver, app, endpoint, cpo, leaked, gone, station, first, firstKey, last, lastKey },
    ...{ pendingIds, acknowledged, until, events, end },
  };
}

/** A CPO's request to pair under an Idempotency-Key. */
export const pairWithKey = (service: Harness, cpo: TestCpo, key: string, body: object) =>
  service.request('POST', '/v1/scsp/ocpp2.0.1/pair', {
    token: cpo.token,
    body,
    headers: { 'Idempotency-Key': key },
  });

export async function pair(service: Harness, cpo: TestCpo, user: { user_id?: string } = {}) {
  const station = aStation();
  expect((await service.pair(cpo, (await service.code(user)).code, station)).status).toBe(200);
  return station;
}

/** Makes due whatever waits for its next attempt until all is delivered: an attempt in flight may fail, and would wait again. */
const deliverPending = (service: Harness, endpoint: Endpoint) =>
  untilSo(async () => {
    await endpoint.due();
    await service.sql.query('update outbox set next_attempt_at = now() where leased_until is null');
    const pending = (await endpoint.deliveries()).filter(({ status }) => status === 'pending');
    return pending.length === 0 && (await service.sql.query('select from outbox')).rowCount === 0;
  });

/** Every event that the feed has. */
export async function everyEvent(service: Harness): Promise<AnEvent[]> {
  const events: AnEvent[] = [];
  for (let after = '0'; ; ) {
    const { body } = await eventsAfter(service, `after=${after}&limit=500`);
    if (body.items.length === 0) return events;
    events.push(...body.items);
    after = body.next_after;
  }
}

/** Pairs with four callers until stopped; `uids` are those that were acknowledged. A commit that waits for the backup gets a 503. */
function pairContinuously(service: Harness, cpo: TestCpo) {
  const uids: string[] = [];
  let over = false;
  const one = async () => {
    while (!over) {
      const station = aStation();
      const { status } = await service.pair(cpo, (await service.code()).code, station);
      expect([200, 503]).toContain(status);
      if (status === 200) uids.push(station.uid);
    }
  };
  const done = Promise.all(Array.from({ length: 4 }, one));
  // Observed by `stop`; until then a rejection must not end the process.
  done.catch(() => undefined);
  return {
    uids,
    async stop() {
      over = true;
      await done;
    },
  };
}
