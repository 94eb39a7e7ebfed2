import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { endLater } from '../harness/clean-up';
import { createTestDatabase } from '../harness/harness';
import { issueDirectly, pairDirectly } from '../harness/pair-function';
import { randomFrom } from '../harness/repeatable-random';

// The limits as the contract tells them, on a plain list of attempts and pairings, beside the functions: random histories with
// random pauses, of which some are a fail-over to a server whose clock is behind.

const LIMITS = { uid10: 2, uid24: 4, cpo10: 4, cpo24: 8, perSuccess: 0.5 };
const MINUTE = 60;
const DAY = 24 * 3600;

let sql: Client;
beforeAll(async () => {
  const database = await createTestDatabase();
  sql = new Client(database.url);
  endLater(() => sql.end());
  await sql.connect();
});

type Attempt = { at: number; uid: string; code: string };

/** One CPO as the contract describes it; times in seconds of its own clock, which never runs backwards. */
class NaiveCpo {
  readonly failed: Attempt[] = [];
  readonly paired: { at: number; user: string }[] = [];

  outcome(clock: number, uid: string, code: string, right: string | undefined): string {
    const now = Math.max(clock, ...this.failed.map(({ at }) => at));
    const failed = (within: number, of?: string) =>
      this.failed.filter((one) => one.at > now - within && (of === undefined || one.uid === of)).length;
    const bonus = (within: number) =>
      Math.floor(
        LIMITS.perSuccess * new Set(this.paired.filter(({ at }) => at > now - within).map(({ user }) => user)).size,
      );
    const full =
      failed(10 * MINUTE, uid) >= LIMITS.uid10 ||
      failed(DAY, uid) >= LIMITS.uid24 ||
      failed(10 * MINUTE) >= LIMITS.cpo10 + bonus(10 * MINUTE) ||
      failed(DAY) >= LIMITS.cpo24 + bonus(DAY);
    if (full) return 'too-many-incorrect-codes';
    if (right !== undefined) {
      this.paired.push({ at: clock, user: right });
      return 'paired';
    }
    if (!this.failed.some((one) => one.uid === uid && one.code === code && one.at > now - MINUTE))
      this.failed.push({ at: now, uid, code });
    return 'incorrect-code';
  }
}

/** Moves everything that is stored, as if the clock had gone by so many seconds, or back. */
async function pass(cpoId: string, seconds: number) {
  const by = [cpoId, seconds];
  await sql.query('update failed_attempts set failed_at = failed_at - make_interval(secs => $2) where cpo_id = $1', by);
  await sql.query(
    'update cpo_tries set last_failed_at = last_failed_at - make_interval(secs => $2) where cpo_id = $1',
    by,
  );
  await sql.query('update pairings set paired_at = paired_at - make_interval(secs => $2) where cpo_id = $1', by);
}

// Pauses are such that no sum of them comes near the end of a window, whatever time the test itself takes.
const PAUSES = [0, 0, 7, 7, 20, 20, 130, 130, 310, 1_510, 7_310, 20_110, -7, -130, -1_510];

test.each(Array.from({ length: 40 }, (_, seed) => seed))('history %i is as the contract has it', async (seed) => {
  const random = randomFrom(seed);
  const cpoId = randomUUID();
  await sql.query('insert into cpos (id, name) values ($1::uuid, $1::text)', [cpoId]);
  const naive = new NaiveCpo();
  const uids = [randomUUID(), randomUUID(), randomUUID()];
  const users = ['u0', 'u1', 'u2', 'u3', 'u4', 'u5'];
  let clock = 1_000_000;
  const history: unknown[] = [];
  for (let step = 0; step < 60; step++) {
    const seconds = random.of(PAUSES);
    clock += seconds;
    if (seconds !== 0) await pass(cpoId, seconds);
    const right = random.below(4) === 0;
    const uid = right ? randomUUID() : random.of(uids);
    const code = right ? `7${seed}0${step}` : `9${random.below(3)}`;
    const user = random.of(users);
    if (right) {
      await issueDirectly(sql, [code]);
      await sql.query(
        `update pairing_codes set user_id = $1, charging_location_id = $2 where user_id is not null and status = 'active'`,
        [user, randomUUID()],
      );
    }
    const expected = naive.outcome(clock, uid, code, right ? user : undefined);
    const [result] = await pairDirectly(sql, [{ cpoId, code, uid }], {
      limits: `(${Object.values(LIMITS).join(',')})`,
    });
    history.push([seconds, uid.slice(0, 4), code, user]);
    expect([...history, result?.outcome]).toEqual([...history, expected]);
    if (right)
      await sql.query(`update pairing_codes set status = 'cancelled', ended_at = now() where status = 'active'`);
  }
});

test('sets of several requests count as the same requests one after the other', async () => {
  const random = randomFrom(99);
  for (let round = 0; round < 20; round++) {
    const cpoId = randomUUID();
    await sql.query('insert into cpos (id, name) values ($1::uuid, $1::text)', [cpoId]);
    const naive = new NaiveCpo();
    const uids = [randomUUID(), randomUUID(), randomUUID()];
    let left = Array.from({ length: 12 }, () => ({ cpoId, uid: random.of(uids), code: `9${random.below(4)}` }));
    const expected = left.map(({ uid, code }) => naive.outcome(0, uid, code, undefined));
    const counted: Record<string, number> = {};
    while (left.length > 0) {
      const results = await pairDirectly(sql, left, { limits: `(${Object.values(LIMITS).join(',')})` });
      for (const { outcome } of results) if (outcome !== 'retry') counted[outcome] = (counted[outcome] ?? 0) + 1;
      left = left.filter((_, i) => results[i]?.outcome === 'retry');
    }
    const { rows } = await sql.query('select count(*)::int as n from failed_attempts where cpo_id = $1', [cpoId]);
    expect(rows[0].n).toBe(naive.failed.length);
    expect(counted['incorrect-code']).toBe(expected.filter((one) => one === 'incorrect-code').length);
  }
});
