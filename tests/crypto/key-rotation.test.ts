import { randomUUID } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { seal } from '../../src/crypto/sealed';
import { isReserved } from '../../src/sandbox/test-codes';
import { command } from '../harness/a-command';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { type ReceivedEvent, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { aStation, createTestDatabase, type Harness, SECRET_KEY as OLD, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

const NEW = 'the key that comes after it, also of 32 characters or more';
const BOTH = { SECRET_KEY: NEW, SECRET_KEY_PREVIOUS: OLD };
const NEW_ALONE = { SECRET_KEY: NEW };

let database: Awaited<ReturnType<typeof createTestDatabase>>;
const running: Harness[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  await stopAll();
  await database.drop();
});

/** A service on the one database, with these keys. */
async function start(
  settings: Record<string, string>,
  overrides: Parameters<typeof startHarness>[1] = {},
): Promise<Harness> {
  const started = await startHarness({ SANDBOX: 'true', ...settings }, { databaseUrl: database.url, ...overrides });
  running.push(started);
  return started;
}
const stopAll = () => Promise.all(running.splice(0).map((service) => service.stop()));

async function restart(
  settings: Record<string, string>,
  overrides: Parameters<typeof startHarness>[1] = {},
): Promise<Harness> {
  await stopAll();
  return start(settings, overrides);
}

async function reseal(keys: Record<string, string>) {
  const { code, stdout, stderr } = await command({ DATABASE_URL: database.url, SANDBOX: 'true', ...keys }, [
    'cpo',
    'reseal',
    '--json',
  ]);
  return { code, stderr, row: code === 0 ? JSON.parse(stdout) : undefined };
}

/** A CPO's backend that tells the right token from others, as theirs do. */
async function aCpo(service: Harness) {
  const cpo = await startCpo(service, (res, request) => {
    if (request.headers.authorization !== `Bearer ${cpo.outboundToken}`) return sendJson(res, 401, { message: 'no' });
    return request.path.endsWith('/unpair') ? sendJson(res, 200, { message: 'yes' }) : answerStation()(res, request);
  });
  return cpo;
}

describe('after the restart with a new key and the previous one', () => {
  test('incorrect codes that a user typed before still count', async () => {
    const before = await start({});
    const wrong = await startCpo(before, (res) => sendJson(res, 404, {}));
    const user_id = randomUUID();
    const statuses: number[] = [];
    for (let i = 0; i < 3; i++) statuses.push((await before.redeem(wrong, '1', { user_id })).status);
    const after = await restart(BOTH);
    for (let i = 0; i < 3; i++) statuses.push((await after.redeem(wrong, '1', { user_id })).status);
    expect(statuses).toEqual([404, 404, 404, 404, 404, 429]);
  });

  test('a code that was issued under the old key pairs', async () => {
    const before = await start({});
    const [cpo, { code }] = [await before.cpo(), await before.code()];
    const after = await restart(BOTH);
    expect((await after.pair(cpo, code)).status).toBe(200);
  });

  test('its value is not issued again, nor one that a slip of the finger makes of it', async () => {
    const before = await start({});
    const { code } = await before.code();
    const twin = code.slice(0, -1) + ((Number(code.at(-1)) + 1) % 10);
    const shifted = (by: number) => [...code].map((digit: string) => (Number(digit) + by) % 10).join('');
    // The sandbox issues no test code.
    const other = [3, 4, 5].map(shifted).find((one) => !isReserved(one)) ?? '';
    const drawn = [code, twin, other];
    const after = await restart(BOTH, {
      random: { ...random, digits: (count) => drawn.shift() ?? random.digits(count) },
    });
    expect((await after.code()).code).toBe(other);
    expect(drawn).toEqual([]);
  });

  test('its value is not issued again after it has ended either', async () => {
    const before = await start({});
    const { id, code } = await before.code();
    await before.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: before.appToken });
    const drawn = [code];
    const after = await restart(BOTH, {
      random: { ...random, digits: (count) => drawn.shift() ?? random.digits(count) },
    });
    expect((await after.code()).code).not.toBe(code);
    expect(drawn).toEqual([]);
  });

  test('a CPO is called with the token that was sealed under the old key', async () => {
    const before = await start({});
    const cpo = await aCpo(before);
    const after = await restart(BOTH);
    expect((await after.redeem(cpo, '123456')).status).toBe(201);
    await cpo.down();
  });

  test('a retry under an Idempotency-Key from before gets the stored response, and pairs nothing twice', async () => {
    const before = await start({});
    const [cpo, { code }] = [await before.cpo(), await before.code()];
    const station = aStation();
    const request = {
      token: cpo.token,
      headers: { 'Idempotency-Key': randomUUID() },
      body: { code, charging_station: station },
    };
    expect((await before.request('POST', '/v1/scsp/ocpp2.0.1/pair', request)).status).toBe(200);
    const after = await restart(BOTH);
    const again = await after.request('POST', '/v1/scsp/ocpp2.0.1/pair', request);
    expect([again.status, again.headers.get('Idempotent-Replayed')]).toEqual([200, 'true']);
    const { rows } = await after.sql.query('select count(*)::int as pairings from pairings');
    expect(rows).toEqual([{ pairings: 1 }]);
  });
});

test('replicas before and after the swap of the keys take each other’s codes', async () => {
  const before = await start({ SECRET_KEY: OLD, SECRET_KEY_PREVIOUS: NEW });
  const after = await start(BOTH);
  const cpo = await before.cpo();
  for (const [issuing, pairing] of [
    [before, after],
    [after, before],
  ] as const)
    expect((await pairing.pair(cpo, (await issuing.code()).code)).status).toBe(200);
});

describe('scsp cpo reseal', () => {
  test('makes the previous key superfluous, and is in the audit log', async () => {
    const before = await start({});
    const [cpo, other] = [await aCpo(before), await aCpo(before)];
    await before.cpo();
    expect(await reseal(BOTH)).toEqual({ code: 0, stderr: '', row: { resealed: 2 } });
    expect(await reseal(BOTH)).toEqual({ code: 0, stderr: '', row: { resealed: 0 } });
    const { rows } = await before.sql.query(
      `select subject_id from audit where action = 'cpo.reseal' order by subject_id`,
    );
    expect(rows).toEqual([cpo.id, other.id].sort().map((subject_id) => ({ subject_id })));

    const after = await restart(NEW_ALONE);
    const paired = await after.redeem(cpo, '123456');
    expect(paired.status).toBe(201);
    expect((await after.unpairAsApp(paired.body.uid)).status).toBe(200);
    await after.log.waitFor(({ outcome }) => outcome === 'delivered');
    expect(after.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
    for (const { down } of [cpo, other]) await down();
  });

  test('re-encrypts the secrets of webhook endpoints too', async () => {
    const before = await start({});
    const receiver = await startReceiver();
    const app = await startApp(before);
    const endpoint = await app.endpoint({ url: receiver.url });
    const { secret } = (await endpoint.request('POST', '/rotate-secret', {})).body;
    const ended = (await endpoint.request('POST', '/rotate-secret', {})).body.secret;
    for (const one of [secret, ended]) before.secrets.add(one);
    await before.sql.query(
      `update webhook_secrets set expires_at = now() where endpoint_id = $1 and id = (
         select id from webhook_secrets where endpoint_id = $1 order by created_at limit 1)`,
      [endpoint.id],
    );
    const failed = await reseal(NEW_ALONE);
    expect([failed.code, failed.stderr]).toEqual([
      1,
      `{"message":"re-encrypted: 0; the secrets of these webhook endpoints were encrypted with another SECRET_KEY, set it as SECRET_KEY_PREVIOUS: ${endpoint.id} (${app.name})"}\n`,
    ]);
    expect(await reseal(BOTH)).toEqual({ code: 0, stderr: '', row: { resealed: 2 } });
    expect(await reseal(NEW_ALONE)).toEqual({ code: 0, stderr: '', row: { resealed: 0 } });
    expect((await endpoint.audit()).map(({ action }) => action).slice(-2)).toEqual(Array(2).fill('webhook.re-encrypt'));

    const after = await restart(NEW_ALONE);
    after.secrets.add(secret);
    const path = `/v1/app/webhook-endpoints/${endpoint.id}/test`;
    expect((await after.request('POST', path, { token: app.token })).body.delivered).toBe(true);
    const [{ headers, body }] = receiver.received as [ReceivedEvent];
    for (const one of [secret, ended]) expect(new Webhook(one).verify(body, headers as any)).toBeDefined();
    expect(after.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('keeps a token that is set in the same moment', async () => {
    const before = await start({});
    const cpo = await aCpo(before);
    const other = await before.sql.connect();
    const { bytes, keyId } = seal(deriveKeys(OLD), 'a newer token', cpo.id);
    await other.query('begin');
    await other.query('update cpos set outbound_token = $2, outbound_key_id = $3 where id = $1', [
      cpo.id,
      bytes,
      keyId,
    ]);
    const resealing = reseal(BOTH);
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await untilSo(async () => (await before.sql.query(waiting)).rowCount !== 0);
    await other.query('commit');
    other.release();
    expect((await resealing).row).toEqual({ resealed: 1 });

    const after = await restart(NEW_ALONE);
    expect((await after.redeem(cpo, '123456')).status).toBe(502);
    expect(cpo.received.at(-1)?.headers.authorization).toBe('Bearer a newer token');
    await cpo.down();
  });

  test('does what it can and names the CPOs whose token it cannot open', async () => {
    const before = await start({});
    const lost = await aCpo(before);
    expect(await reseal(NEW_ALONE)).toEqual({
      code: 1,
      stderr: `{"message":"re-encrypted: 0; the tokens of these CPOs were encrypted with another SECRET_KEY, set it as SECRET_KEY_PREVIOUS: ${lost.name}"}\n`,
      row: undefined,
    });
    await lost.down();
  });
});

describe('without the previous key', () => {
  test('a CPO whose token is sealed under it is not called, which the log says and no answer', async () => {
    const before = await start({});
    const cpo = await aCpo(before);
    const paired = await before.redeem(cpo, '123456');
    const after = await restart(NEW_ALONE);
    expect(after.log.lines).toContainEqual(
      expect.objectContaining({ level: 'error', message: expect.stringContaining('SECRET_KEY_PREVIOUS'), count: 1 }),
    );
    after.log.provokeInternalErrors();
    const answer = await after.redeem(cpo, '123456');
    expect([answer.status, answer.body]).toEqual([
      500,
      {
        message: 'Something went wrong on our side. Please quote the request_id when you report it.',
        type: '/problems/internal-error',
        title: 'Internal error',
        status: 500,
        request_id: answer.headers.get('X-Request-ID'),
      },
    ]);
    const { level, stack } = await after.log.waitFor(({ message }) => message === 'internal error');
    expect([level, stack]).toEqual(['error', expect.stringMatching(/secret of .* SECRET_KEY_PREVIOUS/)]);

    // What it has to be told waits for the key.
    expect((await after.unpairAsApp(paired.body.uid)).status).toBe(200);
    const { reason } = await after.log.waitFor(({ message }) => message === 'CPO not notified of an unpairing yet');
    expect(reason).toContain('SECRET_KEY_PREVIOUS');
    const again = await restart(BOTH);
    await again.log.waitFor(({ outcome }) => outcome === 'delivered');
    await cpo.down();
  });

  test('nothing is sent to a webhook endpoint unsigned, which the log says at the start', async () => {
    const before = await start({});
    const receiver = await startReceiver();
    const app = await startApp(before);
    const endpoint = await app.endpoint({ url: receiver.url });
    const after = await restart(NEW_ALONE);
    expect(after.log.lines).toContainEqual(
      expect.objectContaining({ level: 'error', message: expect.stringContaining('webhook secrets'), count: 1 }),
    );
    const inserted = await after.sql.query(
      `insert into events (id, type, app_name) values (gen_random_uuid(), 'feed.restarted', $1)
       returning pg_notify('scsp_events', 'unpublished')`,
      [app.name],
    );
    expect(inserted.rowCount).toBe(1);
    await after.log.waitFor(
      (line) => line.message === 'a webhook event cannot be sent' && line.endpoint_id === endpoint.id,
    );
    expect(receiver.received).toEqual([]);
    await untilSo(async () => {
      const { rows } = await after.sql.query('select attempts, leased_until from webhook_deliveries');
      return rows.length === 1 && rows[0].attempts === 0 && rows[0].leased_until === null;
    });
  });

  test('a code that was issued under it is incorrect', async () => {
    const before = await start({});
    const [cpo, { code }] = [await before.cpo(), await before.code()];
    const after = await restart(NEW_ALONE);
    const answer = await after.pair(cpo, code);
    expect([answer.status, answer.body.type]).toEqual([404, '/problems/incorrect-code']);
  });
});
