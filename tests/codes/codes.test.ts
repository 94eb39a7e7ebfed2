import crypto, { randomUUID } from 'node:crypto';
import { codesWithinOneEdit, normalizeCode } from '../../src/codes/code';
import { random } from '../../src/crypto/random';
import { capacity } from '../harness/capacity';
import { createTestDatabase, type Harness, startHarness } from '../harness/harness';
import { leaks } from '../harness/leaks';

let service: Harness;
beforeAll(async () => {
  service = await startHarness();
});
afterAll(() => service.stop());

const cancel = (id: string, at = service) =>
  at.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: at.appToken });

/** A random source that yields these digits first. */
const dealing = (...codes: string[]) => ({
  ...random,
  digits: (count: number) => codes.shift() ?? random.digits(count),
});

test('a code is shown once, when it is issued, with six digits and ten minutes to live', async () => {
  const answer = await service.request('POST', '/v1/app/pairing-codes', {
    token: service.appToken,
    body: { user_id: 'u', charging_location_id: 'l' },
  });
  expect(answer.status).toBe(201);
  expect(answer.headers.get('Location')).toBe(`/v1/app/pairing-codes/${answer.body.id}`);
  expect(answer.headers.get('Cache-Control')).toBe('no-store');
  expect(answer.body.code).toMatch(/^\d{6}$/);
  expect(Date.parse(answer.body.expires_at) - Date.parse(answer.body.created_at)).toBe(600_000);
  const followed = await service.followCode(answer.body.id);
  const { code: _shownOnce, ...rest } = answer.body;
  expect(followed.body).toEqual(rest);
});

test('a code is stored as a keyed hash alone', async () => {
  const issueAt = async (SECRET_KEY: string) => {
    const database = await createTestDatabase();
    const issuer = await startHarness({ SECRET_KEY }, { databaseUrl: database.url, random: dealing('362821') });
    expect((await issuer.code()).code).toBe('362821');
    const { rows } = await issuer.sql.query('select c.*, to_jsonb(c)::text as text from pairing_codes c');
    await issuer.stop();
    await database.drop();
    return rows[0];
  };
  const [one, same, other] = [
    await issueAt('k'.repeat(32)),
    await issueAt('k'.repeat(32)),
    await issueAt('l'.repeat(32)),
  ];
  expect(one.hash).toHaveLength(32);
  expect(same.hash).toEqual(one.hash);
  expect(other.hash).not.toEqual(one.hash);
  expect(leaks(one.text, ['362821'])).toEqual([]);
});

test('the digits of a code come from the cryptographic source', async () => {
  const fresh = await startHarness();
  const digits = [...'407193'];
  const source = jest.spyOn(crypto, 'randomInt').mockImplementation(() => Number(digits.shift()));
  try {
    expect((await fresh.code()).code).toBe('407193');
    expect(source.mock.calls).toEqual(Array(6).fill([10]));
  } finally {
    source.mockRestore();
  }
  await fresh.stop();
});

test('a new code for a user and location cancels the old one, another location keeps its own', async () => {
  const user_id = randomUUID();
  const old = await service.code({ user_id });
  const elsewhere = await service.code({ user_id, charging_location_id: 'office' });
  await service.code({ user_id });
  expect((await service.followCode(old.id)).body.status).toBe('cancelled');
  expect((await service.followCode(elsewhere.id)).body.status).toBe('active');
});

test('a cancelled or expired code can be cancelled again, a used one cannot', async () => {
  const cancelled = await service.code();
  expect((await cancel(cancelled.id)).status).toBe(204);
  expect((await cancel(cancelled.id)).status).toBe(204);
  const expired = await service.code();
  await service.sql.query('update pairing_codes set expires_at = now() where id = $1', [expired.id]);
  expect((await cancel(expired.id)).status).toBe(204);
  expect((await service.followCode(expired.id)).body.status).toBe('expired');
  const used = await service.code();
  await service.pair(await service.cpo(), used.code);
  const refused = await cancel(used.id);
  expect(refused.status).toBe(409);
  expect(refused.body.type).toBe('/problems/code-already-used');
});

test.each(['nonsense', randomUUID(), '%ZZ', '%00', '..%2f', '362821'])('the id %s is not found', async (id) => {
  const path = `/v1/app/pairing-codes/${id}`;
  expect((await service.request('GET', path, { token: service.appToken })).status).toBe(404);
  expect((await service.request('DELETE', path, { token: service.appToken })).status).toBe(404);
});

test.each(['-1', '31', '1.5', 'x', ''])('to wait %j seconds is a validation error', async (wait) => {
  const { id } = await service.code();
  const answer = await service.request('GET', `/v1/app/pairing-codes/${id}?wait=${wait}`, { token: service.appToken });
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe('/wait');
});

test('a poll is woken by use, by cancellation, by a newer code and by expiry', async () => {
  const cpo = await service.cpo();
  const used = await service.code();
  const polls = [service.followCode(used.id, 30)];
  const cancelled = await service.code();
  polls.push(service.followCode(cancelled.id, 30));
  const user_id = randomUUID();
  const replaced = await service.code({ user_id });
  polls.push(service.followCode(replaced.id, 30));
  const short = await startHarness({ CODE_TTL_SECONDS: '1' }, { databaseUrl: service.databaseUrl });
  const expiring = await short.code();
  polls.push(short.followCode(expiring.id, 30));

  await service.pair(cpo, used.code);
  await cancel(cancelled.id);
  await service.code({ user_id });

  const answers = await Promise.all(polls);
  expect(answers.map(({ body }) => body.status)).toEqual(['used', 'cancelled', 'cancelled', 'expired']);
  expect(answers[0]?.body.pairing.cpo_id).toBe(cpo.id);
  await short.stop();
});

test('a poll answers a final status at once and an active one when its time is over', async () => {
  const { id } = await service.code();
  expect((await service.followCode(id, 1)).body.status).toBe('active');
  await cancel(id);
  expect((await service.followCode(id, 30)).body.status).toBe('cancelled');
});

test('a poll still sees the change when notifications are lost in between', async () => {
  const { id, code } = await service.code();
  const poll = service.followCode(id, 30);
  await service.sql.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'scsp-pairing listener' and datname = current_database()`,
  );
  await service.pair(await service.cpo(), code);
  expect((await poll).body.status).toBe('used');
});

test('no value is issued again within 24 hours, and after that it is', async () => {
  const fresh = await startHarness({}, { random: dealing('362821', '362821', '900001') });
  const first = await fresh.code();
  expect(first.code).toBe('362821');
  await cancel(first.id, fresh);
  expect((await fresh.code()).code).toBe('900001');
  await fresh.sql.query(`update pairing_codes set created_at = now() - interval '25 hours' where id = $1`, [first.id]);
  const later = await startHarness({}, { databaseUrl: fresh.databaseUrl, random: dealing('362821') });
  expect((await later.code()).code).toBe('362821');
  await later.stop();
  await fresh.stop();
});

test('no near-twin of an active code is issued', async () => {
  const fresh = await startHarness({}, { random: dealing('362821', '362822', '326821', '36282', '3628211', '900001') });
  expect((await fresh.code()).code).toBe('362821');
  expect((await fresh.code()).code).toBe('900001');
  await fresh.stop();
});

test('one slip of a finger never makes one active code of another', () => {
  const twins = new Set(codesWithinOneEdit('362821'));
  for (const twin of ['362822', '632821', '36281', '3362821', '3628210', '0362821', '326821'])
    expect(twins).toContain(twin);
  expect(twins).not.toContain('362821');
  expect(twins).not.toContain('362832');
  expect(twins.size).toBe(6 * 9 + 5 + 6 + 64);
});

test('at most one code in 20,000 of a length is active, the next ones are longer', async () => {
  const fresh = await startHarness();
  const codes = await Promise.all(Array.from({ length: 60 }, () => fresh.code()));
  const lengths = codes.map(({ code }) => code.length);
  expect(lengths.filter((length) => length === 6)).toHaveLength(capacity(6));
  expect(lengths.filter((length) => length === 7)).toHaveLength(10);
  // A value that was issued in the last 24 hours cannot be issued: 999,998 are left, of which 49 may be active.
  for (const { id } of codes.filter(({ code }) => code.length === 6).slice(0, 2))
    expect((await fresh.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: fresh.appToken })).status).toBe(204);
  expect((await fresh.code()).code).toHaveLength(6);
  expect((await fresh.code()).code).toHaveLength(7);
  await fresh.stop();
});

test('CODE_LENGTH and CODE_TTL_SECONDS are obeyed', async () => {
  const other = await startHarness({ CODE_LENGTH: '8', CODE_TTL_SECONDS: '60' });
  const code = await other.code();
  expect(code.code).toMatch(/^\d{8}$/);
  expect(Date.parse(code.expires_at) - Date.parse(code.created_at)).toBe(60_000);
  await other.stop();
});

test('a code cannot be bound to a CPO that does not exist', async () => {
  const body = { user_id: 'u', charging_location_id: 'l', cpo_id: randomUUID() };
  const answer = await service.request('POST', '/v1/app/pairing-codes', { token: service.appToken, body });
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toEqual([{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }]);
});

test.each(['', 'x'.repeat(129), 'a\nb', 'a\u0000b', '\u202e', 7])(
  'the user id %j is a validation error',
  async (user_id) => {
    const body = { user_id, charging_location_id: 'l' };
    const answer = await service.request('POST', '/v1/app/pairing-codes', { token: service.appToken, body });
    expect(answer.status).toBe(400);
    expect(answer.body.errors[0].pointer).toBe('/user_id');
  },
);

test('ids may have any printable characters', async () => {
  const code = await service.code({ user_id: 'Zoë ☀️ 42', charging_location_id: 'a/b?c=d&é' });
  expect((await service.followCode(code.id)).body).toMatchObject({
    user_id: 'Zoë ☀️ 42',
    charging_location_id: 'a/b?c=d&é',
  });
});

test('what a customer types is looked up without spaces and dashes', () => {
  expect(normalizeCode(' 362-821\u00a0')).toBe('362821');
});

test('there is an event for every code issued and cancelled', async () => {
  const code = await service.code();
  await cancel(code.id);
  await cancel(code.id);
  const { rows } = await service.sql.query(
    'select type from events where code_id = $1 order by occurred_at, type desc',
    [code.id],
  );
  expect(rows).toEqual([{ type: 'pairing_code.cancelled' }]);
});
