import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { CODES_CHANNEL } from '../../src/codes/codes';
import { setSuspended } from '../../src/cpos/cpos';
import { Listener } from '../../src/db/listener';
import type { Database } from '../../src/db/pool';
import { TokenRegistry } from '../../src/tokens/registry';
import { revokeToken } from '../../src/tokens/revoke';
import { issueToken, TOKENS_CHANNEL } from '../../src/tokens/tokens';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { startBehindProxy } from '../harness/behind-proxy';
import {
  type Answer,
  aStation,
  type Harness,
  NO_LIMITS,
  recordedLog,
  startHarness,
  type TestCpo,
} from '../harness/harness';
import { openRaw } from '../harness/raw-http';
import { untilStatus } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ ...NO_LIMITS, SANDBOX: 'true' });
});
afterAll(() => service.stop());

const me = (token: string, at = service) => at.request('GET', '/v1/scsp/me', { token });
const tokenOf = async (cpo: TestCpo) => {
  const { rows } = await service.sql.query('select id from tokens where cpo_id = $1', [cpo.id]);
  return rows[0].id;
};
const pairingsOf = async (cpo: { id: string }) => {
  const { rows } = await service.sql.query('select id from pairings where cpo_id = $1', [cpo.id]);
  return rows.length;
};
/** An app whose token the service knows. */
const anApp = async () => {
  const app = await issueToken(service.operator, { role: 'app', appName: 'an app that is found out' });
  service.secrets.add(app.token);
  await untilStatus(200, () => service.request('GET', '/v1/app/cpos', { token: app.token }));
  return app;
};
const unknownByNow = (token: string) =>
  untilStatus(401, () => service.request('GET', '/v1/app/cpos', { token })).then(({ status }) =>
    expect(status).toBe(401),
  );
const refused = (answer: Pick<Answer, 'status' | 'body'> | undefined, status: 401 | 403) =>
  expect([answer?.status, answer?.body.type]).toEqual([
    status,
    `/problems/${status === 401 ? 'invalid-token' : 'cpo-suspended'}`,
  ]);

describe('between the head of a request and its body', () => {
  /** A request to pair, all of it but the body. */
  const pairing = async (cpo: TestCpo, code: string) => {
    const body = JSON.stringify({ code, charging_station: aStation() });
    const raw = await openRaw(service.url);
    const head = [
      'POST /v1/scsp/ocpp2.0.1/pair HTTP/1.1',
      'Host: x',
      `Authorization: Bearer ${cpo.token}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      'Expect: 100-continue',
      'Connection: close',
    ];
    raw.socket.write(`${head.join('\r\n')}\r\n\r\n`);
    while (!raw.received().includes('100 Continue')) await once(raw.socket, 'data');
    return async () => {
      raw.socket.write(body);
      return (await raw.answers(1))[0];
    };
  };

  test('a token that is revoked pairs nothing', async () => {
    const [cpo, { id, code }] = [await service.cpo(), await service.code()];
    const sendBody = await pairing(cpo, code);
    await revokeToken(service.operator, await tokenOf(cpo));
    refused(await untilStatus(401, () => me(cpo.token)), 401);
    const answer = await sendBody();
    refused(answer, 401);
    expect(answer?.headers['www-authenticate']).toBe('Bearer realm="scsp-pairing", error="invalid_token"');
    expect((await service.followCode(id)).body.status).toBe('active');
  });

  test('a CPO that is suspended pairs nothing, and one that is resumed in time does', async () => {
    const [cpo, { id, code }] = [await service.cpo(), await service.code()];
    const [first, second] = [await pairing(cpo, code), await pairing(cpo, code)];
    await setSuspended(service.operator, cpo.id, true);
    refused(await untilStatus(403, () => me(cpo.token)), 403);
    refused(await first(), 403);
    expect((await service.followCode(id)).body.status).toBe('active');
    await setSuspended(service.operator, cpo.id, false);
    await untilStatus(200, () => me(cpo.token));
    expect((await second())?.status).toBe(200);
  });
});

describe('during a long poll', () => {
  /** When a poll ends by itself. */
  const POLL_ENDS_MS = 30_000;
  const follow = (id: string, token: string, wait = POLL_ENDS_MS / 1_000) =>
    service.request('GET', `/v1/app/pairing-codes/${id}?wait=${wait}`, { token });

  test('a revoked token ends it with 401 at once, and others go on', async () => {
    const app = await anApp();
    const { id, code } = await service.code();
    const [poll, other] = [follow(id, app.token), follow(id, service.appToken)];
    await revokeToken(service.operator, app.id);
    const began = performance.now();
    refused(await poll, 401);
    expect(performance.now() - began).toBeLessThan(POLL_ENDS_MS / 2);
    expect((await service.pair(await service.cpo(), code)).status).toBe(200);
    expect((await other).body).toMatchObject({ status: 'used', pairing: { charging_location_id: 'home' } });
  });

  test('a revoked token ends the wait for events with 401, too', async () => {
    const app = await anApp();
    const { body } = await service.request('GET', '/v1/events?after=latest', { token: app.token });
    const path = `/v1/events?after=${body.next_after}&types=feed.restarted&wait=30`;
    const poll = service.request('GET', path, { token: app.token });
    await revokeToken(service.operator, app.id);
    refused(await poll, 401);
  });

  test('a revocation without a notification delivers nothing either, whatever ends the poll', async () => {
    const { service: behind, direct, proxy, stop } = await startBehindProxy();
    try {
      const { id } = await behind.code();
      const { body } = await behind.request('POST', '/v1/app/pairing-codes', {
        token: behind.appToken,
        body: { user_id: 'u', charging_location_id: 'l' },
      });
      behind.secrets.add(body.code);
      const following = (code: string) =>
        behind.request('GET', `/v1/app/pairing-codes/${code}?wait=8`, { token: behind.appToken });
      const polls = [following(id), following(body.id)];
      // The answers to look-ups come, what the listener would hear does not.
      proxy.swallowAnswersTo('clock_timestamp()');
      await behind.log.waitFor(({ message }) => message === 'notifications lost, reconnecting');
      await direct.query(`update tokens set revoked_at = now() where app_name = 'test app'`);
      await direct.query(`update pairing_codes set status = 'cancelled', ended_at = now() where id = $1`, [id]);
      await direct.query('update pairing_codes set user_id = null, charging_location_id = null where id = $1', [
        body.id,
      ]);
      for (const answer of await Promise.all(polls)) refused(answer, 401);
    } finally {
      await stop();
    }
  });

  test('a code whose user is forgotten is 404 at once', async () => {
    const { id } = await service.code();
    const poll = follow(id, service.appToken);
    await follow(id, service.appToken, 0);
    await service.sql.query(
      `with forgotten as (
         update pairing_codes set user_id = null, charging_location_id = null, status = 'cancelled', ended_at = now()
         where id = $1 returning id
       ) select pg_notify($2, id::text) from forgotten`,
      [id, CODES_CHANNEL],
    );
    const began = performance.now();
    expect((await poll).status).toBe(404);
    expect(performance.now() - began).toBeLessThan(POLL_ENDS_MS / 2);
  });
});

describe('while a CPO is asked', () => {
  const held: ServerResponse[] = [];
  let slow: Awaited<ReturnType<typeof startCpo>>;
  beforeAll(async () => {
    slow = await startCpo(service, (res) => void held.push(res));
  });
  afterAll(() => slow.down());

  test.each<[string, (res: ServerResponse) => void]>([
    ['its station', (res) => answerStation()(res, { method: '', path: '', headers: {}, body: '' })],
    ['that the code is wrong', (res) => sendJson(res, 404, {})],
    ['that it has failed', (res) => sendJson(res, 500, {})],
  ])('a revoked token gets nothing of its answer, nothing is paired: %s', async (_what, answer) => {
    const app = await anApp();
    const before = slow.received.length;
    const redeeming = service.request('POST', '/v1/app/pairings', {
      token: app.token,
      body: {
        user_id: 'u',
        charging_location_id: 'l',
        cpo_id: slow.id,
        payload_protocol: 'ocpp2.0.1',
        code: '1',
      },
    });
    await slow.asked(before + 1);
    await revokeToken(service.operator, app.id);
    await unknownByNow(app.token);
    const res = held.pop();
    if (res === undefined) throw new Error('the CPO was not asked');
    answer(res);
    refused(await redeeming, 401);
    expect(await pairingsOf(slow)).toBe(0);
  });
});

describe('until the tokens have been read again', () => {
  /** The end of the statement that reads every token, and of the one that looks one up. */
  const [READING, LOOK_UP] = ['t.expires_at > now()', 't.hash = $1'];

  test('a token that was revoked while the listener was away is refused from its return on', async () => {
    const cpo = await service.cpo();
    const log = recordedLog();
    const listener = new Listener(service.databaseUrl, [TOKENS_CHANNEL], log.log);
    await listener.start();
    let reads = true;
    const query = (sql: string, parameters: unknown[]) =>
      !reads && sql.trim().endsWith(READING) ? new Promise(() => undefined) : service.db.query(sql, parameters);
    const registry = new TokenRegistry({ db: { query } as unknown as Database, listener, log: log.log });
    await registry.start();
    expect(registry.verify(cpo.token)).toMatchObject({ cpo: { id: cpo.id } });

    reads = false;
    await service.sql.query(
      `with lost as (
         select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'scsp-pairing listener' and datname = current_database()
       ) update tokens set revoked_at = now() from lost where cpo_id = $1`,
      [cpo.id],
    );
    await log.waitFor(({ message }) => message === 'notifications restored');
    expect(await registry.verify(cpo.token)).toBeUndefined();
    await Promise.all([registry.stop(), listener.stop()]);
  });

  test('a token whose revocation has been announced is refused', async () => {
    const { service: behind, proxy, direct, stop } = await startBehindProxy();
    try {
      const cpo = await behind.cpo();
      // From memory, because no look-up is answered.
      proxy.swallowAnswersTo(`${LOOK_UP}\0`);
      expect((await untilStatus(200, () => me(cpo.token, behind), 20_000)).status).toBe(200);
      proxy.swallowAnswersTo(`${READING}\0`);
      const { rows } = await direct.query('select id from tokens where cpo_id = $1', [cpo.id]);
      await revokeToken(behind.operator, rows[0].id);
      refused(await untilStatus(401, () => me(cpo.token, behind)), 401);
    } finally {
      await stop();
    }
  });
});
