import { randomUUID } from 'node:crypto';
import { newSpan } from '../../src/contract/trace-context';
import { deriveKeys, hashSubject } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { storeStation } from '../../src/pairing/redeem';
import { beginAttempt } from '../../src/pairing/redemption-attempts';
import { Problem } from '../../src/problems';
import { sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { ownContext } from '../harness/own-context';
import { untilSo } from '../harness/until';

const SANDBOX = { SANDBOX: 'true' };
let service: Harness;
beforeAll(async () => {
  service = await startHarness(SANDBOX);
});
afterAll(() => service.stop());

const outboxOf = async (cpoId: string) =>
  (await service.sql.query('select uid, pairing_id from outbox where cpo_id = $1', [cpoId])).rows;

test('an attempt counts once the CPO has answered, even if the token of the app could not be checked then', async () => {
  const cpo = await service.cpo();
  const { ctx } = ownContext(service);
  const attempt = await beginAttempt(ctx, 'u');
  const request = {
    ...{ userId: 'u', chargingLocationId: 'l', cpoId: cpo.id, payloadProtocol: 'ocpp2.0.1' as const },
    origin: { requestId: 'r', trace: newSpan(random, undefined) },
    stillAllowed: () => Promise.reject(new Problem('unavailable')),
  };
  await expect(storeStation(ctx, attempt, request, { charging_station: aStation() } as never)).rejects.toThrow(Problem);
  await untilSo(async () => {
    const { rows } = await service.sql.query('select outcome from redemption_attempts where id = $1', [attempt]);
    return rows[0]?.outcome === 'failed';
  });
});

describe('a CPO that answered 200 for a pairing that was not kept is notified of an unpair', () => {
  /** A CPO that answers a code as told, and notes unpairs. */
  const startNoting = async (uid: string, body: object) => {
    const cpo = await startCpo(service, (res, { path }) =>
      sendJson(res, 200, path.endsWith('/pair') && !path.includes('/unpair') ? body : {}),
    );
    const unpaired = async () => {
      await service.log.waitFor((line) => line.message === 'CPO notified of an unpairing' && line.cpo_id === cpo.id);
      return cpo.received.filter(({ path }) => path === `/v1/cpo/chargingstations/${encodeURIComponent(uid)}/unpair`);
    };
    return { cpo, unpaired };
  };

  test('an answer against the contract, whose uid can be read', async () => {
    const uid = `broken / ${randomUUID().slice(0, 8)}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: { ...aStation(uid), evses: '1' } });
    // A CPO may name stations by its codes.
    expect((await service.redeem(cpo, 'broken')).status).toBe(502);
    expect(await unpaired()).toHaveLength(1);
    expect(await outboxOf(cpo.id)).toEqual([]);
    await cpo.down();
  });

  test('an answer with two media types', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, {});
    const { answer } = cpo;
    cpo.answer = (res) => {
      res.setHeader('content-type', ['application/json', 'application/json']);
      res.end(JSON.stringify({ charging_station: aStation(uid) }));
    };
    const { status, body } = await service.redeem(cpo, '1');
    expect([status, body.type]).toEqual([502, '/problems/cpo-failed']);
    cpo.answer = answer;
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a pairing whose notification could not be stored either, once the database is back', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: { ...aStation(uid), evses: '1' } });
    await service.sql.query(`create or replace function refuse_notification() returns trigger language plpgsql as $$
      begin if new.uid = '${uid}' then raise sqlstate '57P01'; end if; return new; end $$`);
    await service.sql.query(
      'create trigger refuse_notification before insert on outbox for each row execute function refuse_notification()',
    );
    expect((await service.redeem(cpo, '1')).status).toBe(502);
    await service.log.waitFor((line) => line.level === 'error' && line.cpo_id === cpo.id);
    await service.sql.query('drop trigger refuse_notification on outbox');
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a uid that is paired at another CPO, but not one that is paired with it', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    const { cpo: other } = await startNoting(uid, { charging_station: aStation(uid) });
    expect((await service.redeem(other, '1')).status).toBe(201);
    expect((await service.redeem(cpo, '1')).status).toBe(409);
    expect(await unpaired()).toHaveLength(1);
    expect((await service.redeem(other, '1')).status).toBe(409);
    expect(await outboxOf(other.id)).toEqual([]);
    expect(other.received).toHaveLength(2);
    await Promise.all([cpo.down(), other.down()]);
  });

  test('a user who was forgotten in between, and is not brought back', async () => {
    const uid = `S-${randomUUID()}`;
    const user_id = randomUUID();
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    const answer = cpo.answer;
    let release = () => {};
    cpo.answer = (res, request) => {
      release = () => answer(res, request);
    };
    const redeeming = service.redeem(cpo, '1', { user_id });
    await cpo.asked(1);
    // What forgetting a user does first.
    await service.sql.query(
      `update redemption_attempts set outcome = 'forgotten' where user_hash = $1 and outcome is null`,
      [hashSubject(deriveKeys(SECRET_KEY), 'user', user_id)],
    );
    cpo.answer = answer;
    release();
    const refused = await redeeming;
    expect([refused.status, refused.body.type]).toEqual([404, '/problems/user-forgotten']);
    expect((await service.sql.query('select from pairings where user_id = $1', [user_id])).rowCount).toBe(0);
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });

  test('a pairing that our database did not store', async () => {
    const uid = `S-${randomUUID()}`;
    const { cpo, unpaired } = await startNoting(uid, { charging_station: aStation(uid) });
    await service.sql.query(`create or replace function refuse() returns trigger language plpgsql as $$
      begin if new.uid = '${uid}' then raise sqlstate '57P01'; end if; return new; end $$`);
    await service.sql.query('create trigger refuse before insert on stations for each row execute function refuse()');
    expect((await service.redeem(cpo, '1')).status).toBe(503);
    await service.sql.query('drop trigger refuse on stations');
    // It waits until nobody can commit the pairing any more.
    await untilSo(async () => (await outboxOf(cpo.id)).length > 0);
    await service.sql.query('update outbox set next_attempt_at = now() where cpo_id = $1', [cpo.id]);
    expect(await unpaired()).toHaveLength(1);
    await cpo.down();
  });
});
