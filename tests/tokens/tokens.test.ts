import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Listener } from '../../src/db/listener';
import type { Database } from '../../src/db/pool';
import { TokenRegistry } from '../../src/tokens/registry';
import { revokeToken } from '../../src/tokens/revoke';
import { issueToken, rotateToken, TOKENS_CHANNEL } from '../../src/tokens/tokens';
import { type Harness, recordedLog, startHarness, type TestCpo } from '../harness/harness';
import { until, untilStatus } from '../harness/until';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const me = (token: string, at = service) => at.request('GET', '/v1/scsp/me', { token });
const tokenOf = async (cpo: TestCpo) =>
  (await service.sql.query('select * from tokens where cpo_id = $1', [cpo.id])).rows[0];
const rowOf = async (id: string) => (await service.sql.query('select *, xmin from tokens where id = $1', [id])).rows[0];
const rotate = (id: string, hours = 24) => rotateToken(service.operator, id, hours);

test.each(['before it', 'after it'])(
  'a new token works at once, although unknown ones have used up the look-ups, if the notification arrives %s',
  async (arrival) => {
    const { log } = recordedLog();
    let notify = () => {};
    const on = (_channel: string, listener: () => void) => {
      notify = listener;
      return () => {};
    };
    let go = () => {};
    let reading = Promise.resolve();
    const query = async (sql: string, parameters: unknown[]) => {
      if (parameters.length === 0) await reading;
      return service.db.query(sql, parameters);
    };
    const listener = { connected: true, now: Date.now, on } as unknown as Listener;
    const registry = new TokenRegistry({ db: { query } as unknown as Database, listener, log });
    await registry.start();
    const unknown = Array.from({ length: 30 }, () => registry.verify(`scsp_app_${randomUUID()}`));
    reading = new Promise((resolve) => {
      go = resolve;
    });
    const { token } = await issueToken(service.operator, { role: 'app', appName: 'another app' });
    if (arrival === 'before it') notify();
    const found = registry.verify(token);
    if (arrival === 'after it') notify();
    go();
    expect(await found).toMatchObject({ role: 'app', app: 'another app' });
    expect(await Promise.all(unknown)).toEqual(unknown.map(() => undefined));
    await registry.stop();
  },
);

describe('rotating a token', () => {
  test('gives its owner a second one; both work, and the old one ends when the overlap is over', async () => {
    const cpo = await service.cpo();
    const old = await tokenOf(cpo);
    const rotated = await rotate(old.id);
    expect(rotated).toMatchObject({ replaces: old.id, token: expect.stringMatching(/^scsp_cpo_[\w-]{43}$/) });
    expect((rotated.oldExpiresAt.getTime() - Date.now()) / HOUR_MS).toBeCloseTo(24, 1);
    expect((rotated.expiresAt.getTime() - Date.now()) / DAY_MS).toBeCloseTo(365, 1);
    expect((await untilStatus(200, () => me(rotated.token))).status).toBe(200);
    expect((await me(rotated.token)).body.cpo).toEqual({ id: cpo.id, name: cpo.name });
    // The new one is looked up while it is unknown; a notification says that the old one has become shorter.
    const ends = rotated.oldExpiresAt.toISOString();
    const { body } = await until(
      (answer) => answer.body.token?.expires_at === ends,
      () => me(cpo.token),
    );
    expect(body.token.expires_at).toBe(ends);
    expect(await rowOf(rotated.id)).toMatchObject({ replaces: old.id, cpo_id: cpo.id, role: 'cpo' });
  });

  test("an app's token keeps its role and name", async () => {
    const issued = await issueToken(service.operator, { role: 'app', appName: 'rotating app' });
    const { id, token } = await rotate(issued.id);
    expect(token).toMatch(/^scsp_app_[\w-]{43}$/);
    expect(await rowOf(id)).toMatchObject({ role: 'app', app_name: 'rotating app', cpo_id: null });
    expect((await service.request('GET', '/v1/app/cpos', { token })).status).toBe(200);
  });

  test('without an overlap the old one is refused within a second', async () => {
    const cpo = await service.cpo();
    expect((await me(cpo.token)).status).toBe(200);
    const { token } = await rotate((await tokenOf(cpo)).id, 0);
    expect((await untilStatus(401, () => me(cpo.token))).status).toBe(401);
    expect((await me(token)).status).toBe(200);
  });

  test('never lengthens the life of the old one', async () => {
    const { id } = await tokenOf(await service.cpo());
    const { rows } = await service.sql.query(
      `update tokens set expires_at = now() + interval '1 hour' where id = $1 returning expires_at`,
      [id],
    );
    expect((await rotate(id, 24)).oldExpiresAt).toEqual(rows[0].expires_at);
  });

  test('is refused for one that is revoked, has expired or is unknown, and makes none', async () => {
    const revoked = await tokenOf(await service.cpo());
    await revokeToken(service.operator, revoked.id);
    const expired = await tokenOf(await service.cpo());
    await service.sql.query('update tokens set expires_at = now() where id = $1', [expired.id]);
    for (const { id } of [revoked, expired])
      await expect(rotate(id)).rejects.toThrow(`the token ${id} is revoked or has expired: issue a new one`);
    for (const id of [randomUUID(), 'no-such-token'])
      await expect(rotate(id)).rejects.toThrow(`no token has the id ${id}`);
    const { rows } = await service.sql.query('select id from tokens where replaces = any($1)', [
      [revoked.id, expired.id],
    ]);
    expect(rows).toEqual([]);
  });
});

describe('when a token was last used', () => {
  test('is written for all tokens at once, by the latest when the service stops, and sends no notification', async () => {
    const replica = await startHarness({}, { databaseUrl: service.databaseUrl });
    const cpos = [await service.cpo(), await service.cpo(), await service.cpo()];
    const unused = await service.cpo();
    const client = new Client(service.databaseUrl);
    await client.connect();
    const rung: string[] = [];
    const ended = new Promise<void>((resolve) => {
      client.on('notification', ({ payload = '' }) => (payload === 'the end' ? resolve() : rung.push(payload)));
    });
    await client.query(`listen ${TOKENS_CHANNEL}`);

    for (const cpo of [...cpos, ...cpos]) expect((await me(cpo.token, replica)).status).toBe(200);
    for (const cpo of cpos) expect((await tokenOf(cpo)).last_used_at).toBeNull();
    await replica.stop();

    const written = await Promise.all(cpos.map(async (cpo) => rowOf((await tokenOf(cpo)).id)));
    for (const { last_used_at } of written) expect(Math.abs(last_used_at.getTime() - Date.now())).toBeLessThan(60_000);
    expect(new Set(written.map(({ xmin }) => xmin)).size).toBe(1);
    expect((await tokenOf(unused)).last_used_at).toBeNull();

    await client.query(`notify ${TOKENS_CHANNEL}, 'the end'`);
    await ended;
    expect(rung).toEqual([]);
    await client.end();
  });
});

describe('once a minute', () => {
  const EVERYTHING_BUT_INTERVALS = [
    'Date',
    'hrtime',
    'nextTick',
    'performance',
    'queueMicrotask',
    'setImmediate',
    'clearImmediate',
    'setTimeout',
    'clearTimeout',
  ] as const;
  const minute = async () => {
    jest.advanceTimersByTime(60_000);
    await new Promise((resolve) => setImmediate(resolve));
  };

  /** A registry whose minutes and clock a test moves on, on the database of the service. */
  async function startRegistry() {
    const log = recordedLog();
    const writes: Promise<unknown>[] = [];
    const state = { now: Date.now(), fails: false };
    const listener = Object.assign(new Listener(service.databaseUrl, [TOKENS_CHANNEL], log.log), {
      now: () => state.now,
    });
    await listener.start();
    const query = (sql: string, parameters: unknown[]) => {
      if (!/set last_used_at/.test(sql)) return service.db.query(sql, parameters);
      writes.push(state.fails ? Promise.reject(new Error('away')) : service.db.query(sql, parameters));
      return writes.at(-1);
    };
    const registry = new TokenRegistry({ db: { query } as unknown as Database, listener, log: log.log });
    await registry.start();
    /** What was said of a token, when all that was said before now has arrived. */
    const warnings = async (id: string) => {
      const end = randomUUID();
      log.log.info(end);
      await log.waitFor(({ message }) => message === end);
      return log.lines.filter(({ message, token_id }) => message === 'token expires soon' && token_id === id);
    };
    stop = async () => void (await Promise.all([registry.stop(), listener.stop()]));
    return { registry, log, warnings, writes, state };
  }
  let stop = async () => {};

  beforeEach(() => void jest.useFakeTimers({ doNotFake: [...EVERYTHING_BUT_INTERVALS] }));
  afterEach(async () => {
    await stop();
    jest.useRealTimers();
  });

  test('uses are written, and only when there are any', async () => {
    const cpo = await service.cpo();
    const { registry, writes, state } = await startRegistry();
    for (let i = 0; i < 10; i++) await registry.verify(cpo.token);
    await registry.verify(`scsp_cpo_${randomUUID()}`);
    expect(writes).toHaveLength(0);
    await minute();
    expect(writes).toHaveLength(1);
    await writes[0];
    expect((await tokenOf(cpo)).last_used_at.getTime()).toBe(state.now);

    await minute();
    expect(writes).toHaveLength(1);
    state.now += 61_000;
    await registry.verify(cpo.token);
    await minute();
    await writes[1];
    expect((await tokenOf(cpo)).last_used_at.getTime()).toBe(state.now);
    await stop();
    expect(writes).toHaveLength(2);
  });

  test('uses that could not be written go with the next, and never back in time', async () => {
    const [cpo, later] = [await service.cpo(), await service.cpo()];
    const { registry, log, writes, state } = await startRegistry();
    for (const { token } of [cpo, later]) await registry.verify(token);
    state.fails = true;
    await minute();
    await log.waitFor(({ message }) => message === 'uses of tokens not written yet');
    state.fails = false;
    await service.sql.query(`update tokens set last_used_at = now() + interval '1 hour' where cpo_id = $1`, [later.id]);
    await minute();
    await writes[1];
    expect((await tokenOf(cpo)).last_used_at.getTime()).toBe(state.now);
    expect((await tokenOf(later)).last_used_at.getTime()).toBeGreaterThan(Date.now());
  });

  test('a token that expires soon is warned of, once a day and without the token', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const [soon, late] = [await tokenOf(cpo), await tokenOf(other)];
    await service.sql.query(`update tokens set expires_at = now() + interval '29 days' where id = $1`, [soon.id]);
    await service.sql.query(`update tokens set expires_at = now() + interval '31 days 12 hours' where id = $1`, [
      late.id,
    ]);
    const { log, warnings, state } = await startRegistry();
    expect(await warnings(soon.id)).toMatchObject([
      { level: 'warn', role: 'cpo', cpo_id: cpo.id, expires_at: (await rowOf(soon.id)).expires_at.toISOString() },
    ]);
    state.now += DAY_MS - 1_000;
    await minute();
    expect(await warnings(soon.id)).toHaveLength(1);
    state.now += 1_000;
    await minute();
    expect(await warnings(soon.id)).toHaveLength(2);
    expect(await warnings(late.id)).toHaveLength(0);
    state.now += DAY_MS;
    await minute();
    expect(await warnings(soon.id)).toHaveLength(3);
    expect(await warnings(late.id)).toHaveLength(1);
    expect(JSON.stringify(log.lines)).not.toContain('scsp_cpo_');
  });
});

test.each([
  ["interval '30 days 1 minute'", undefined],
  [
    "interval '29 days 23 hours'",
    'This token expires in 29 days. Replace it with POST /v1/scsp/tokens/rotate, unless you have already.',
  ],
  [
    "interval '25 hours'",
    'This token expires in 1 day. Replace it with POST /v1/scsp/tokens/rotate, unless you have already.',
  ],
  [
    "interval '23 hours'",
    'This token expires in less than a day. Replace it with POST /v1/scsp/tokens/rotate, unless you have already.',
  ],
])('with %s left, who asks who it is is warned: %s', async (left, warning) => {
  const cpo = await service.cpo();
  const { rows } = await service.sql.query(
    `update tokens set expires_at = now() + ${left} where cpo_id = $1 returning expires_at`,
    [cpo.id],
  );
  const expires_at = rows[0].expires_at.toISOString();
  const { body } = await until(
    (answer) => answer.body.token.expires_at === expires_at,
    () => me(cpo.token),
  );
  expect(body.token).toEqual(warning === undefined ? { expires_at } : { expires_at, warning });
});
