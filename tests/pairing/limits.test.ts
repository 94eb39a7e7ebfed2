import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { GUESS_ODDS } from '../../src/codes/code';
import { transaction } from '../../src/db/query';
import { resetLimits } from '../../src/pairing/set-limits';
import { capacity } from '../harness/capacity';
import { type Answer, anIncorrectCode, aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { issueDirectly, pairDirectly } from '../harness/pair-function';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
let replica: Harness;
beforeAll(async () => {
  service = await startHarness();
  replica = await startHarness({}, { databaseUrl: service.databaseUrl });
});
afterAll(async () => {
  await replica.stop();
  await service.stop();
});

const wrong = (cpo: TestCpo, uid?: string, by = service) => {
  const [code, station] = [anIncorrectCode(), aStation(uid)];
  return untilAnswered(() => by.pair(cpo, code, station));
};
const LOCK_WAITS = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
const times = <T>(n: number, make: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const oneByOne = async (n: number, make: () => Promise<Answer>) => {
  const statuses: number[] = [];
  for (let i = 0; i < n; i++) statuses.push((await make()).status);
  return statuses;
};
const statusesOf = (answers: Answer[]) => {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};
/** Moves what was counted into the past, as if so many seconds went by. */
const passSeconds = async (cpo: TestCpo, seconds: number) => {
  for (const sql of [
    `update failed_attempts set failed_at = failed_at - make_interval(secs => $2) where cpo_id = $1`,
    `update cpo_tries set last_failed_at = last_failed_at - make_interval(secs => $2) where cpo_id = $1`,
    `update pairings set paired_at = paired_at - make_interval(secs => $2) where cpo_id = $1`,
  ])
    await service.sql.query(sql, [cpo.id, seconds]);
};
const passMinutes = (cpo: TestCpo, minutes: number) => passSeconds(cpo, minutes * 60);
const limitsOf = async (cpo: TestCpo) => {
  const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
  return Object.fromEntries(
    body.limits.map(({ name, limit, left }: Record<string, unknown>) => [name, `${left} of ${limit}`]),
  );
};

test('five incorrect codes in ten minutes are the limit of a CPO and uid, in any spelling', async () => {
  const cpo = await service.cpo();
  const uid = `Guess-${randomUUID()}`;
  expect(await oneByOne(5, () => wrong(cpo, uid))).toEqual([404, 404, 404, 404, 404]);
  const refused = await wrong(cpo, uid.toUpperCase());
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-incorrect-codes']);
  const wait = Number(refused.headers.get('Retry-After'));
  expect(wait).toBeGreaterThan(590);
  expect(wait).toBeLessThanOrEqual(600);
  expect(refused.headers.get('RateLimit-Policy')).toBe(
    '"incorrect-codes-uid-10min";q=5;w=600, "incorrect-codes-uid-24h";q=10;w=86400, ' +
      '"incorrect-codes-cpo-10min";q=20;w=600, "incorrect-codes-cpo-24h";q=50;w=86400',
  );
  expect(refused.headers.get('RateLimit')).toBe(
    `"incorrect-codes-uid-10min";r=0;t=${wait}, "incorrect-codes-uid-24h";r=5, ` +
      '"incorrect-codes-cpo-10min";r=15, "incorrect-codes-cpo-24h";r=45',
  );
  expect((await wrong(cpo)).status).toBe(404);
  expect((await wrong(await service.cpo(), uid)).status).toBe(404);
});

test('ten in 24 hours are the limit of a CPO and uid, so that one station never uses up what its CPO has', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  let counted = 0;
  for (let i = 0; i < 12; i++) {
    const statuses = await oneByOne(6, () => wrong(cpo, uid));
    counted += statuses.filter((status) => status === 404).length;
    await passMinutes(cpo, 10);
  }
  expect(counted).toBe(10);
  const refused = await wrong(cpo, uid);
  expect(refused.status).toBe(429);
  // The oldest of the ten is two hours old.
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(21 * 3600);
  expect(Number(refused.headers.get('Retry-After'))).toBeLessThanOrEqual(22 * 3600);
  expect((await wrong(cpo)).status).toBe(404);
  await passMinutes(cpo, 22 * 60);
  expect((await wrong(cpo, uid)).status).toBe(404);
});

test('the same incorrect code for a uid counts once in the 60 seconds from the attempt that counted', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  const code = anIncorrectCode();
  const again = (as = cpo, spelling: string = uid) => service.pair(as, code, aStation(spelling));
  const left = async () => (await limitsOf(cpo))['incorrect-codes-cpo-24h'];
  for (let i = 0; i < 10; i++) expect((await again()).status).toBe(404);
  expect(statusesOf(await times(20, () => untilAnswered(() => again(cpo, uid.toUpperCase()))))).toEqual({ 404: 20 });
  expect(await left()).toBe('49 of 50');
  // For another uid it is another guess.
  expect((await again(cpo, randomUUID())).status).toBe(404);
  expect(await left()).toBe('48 of 50');

  // Repeats do not move the span.
  await passSeconds(cpo, 30);
  await again();
  expect(await left()).toBe('48 of 50');
  await passSeconds(cpo, 31);
  await again();
  await again();
  expect(await left()).toBe('47 of 50');
});

test('a right code during a 429 is not accepted, and is good again when the time is over', async () => {
  const cpo = await service.cpo();
  const { code, id } = await service.code();
  const uid = randomUUID();
  await oneByOne(5, () => wrong(cpo, uid));
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(429);
  expect((await service.followCode(id)).body.status).toBe('active');
  await passMinutes(cpo, 10);
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
});

test('a 429 does not look the code up, be it right or wrong', async () => {
  const { id: cpoId } = await service.cpo();
  const uid = randomUUID();
  const right = anIncorrectCode();
  await issueDirectly(service.sql, [right]);
  const client = await service.sql.connect();
  const scans = async () => {
    const { rows } = await client.query(
      `select coalesce(seq_scan, 0) + coalesce(idx_scan, 0) as n from pg_stat_xact_user_tables where relname = 'pairing_codes'`,
    );
    return Number(rows[0].n);
  };
  /** What becomes of a request, and how often it looks codes up. */
  const lookUps = async (code: string) => {
    await client.query('begin');
    const before = await scans();
    const [result] = await pairDirectly(client, [{ cpoId, code, uid }]);
    const after = await scans();
    await client.query('commit');
    return [result?.outcome, after - before];
  };
  for (let i = 0; i < 5; i++) {
    const [outcome, n] = await lookUps(anIncorrectCode());
    expect(outcome).toBe('incorrect-code');
    expect(n).toBeGreaterThan(0);
  }
  expect(await lookUps(anIncorrectCode())).toEqual(['too-many-incorrect-codes', 0]);
  expect(await lookUps(right)).toEqual(['too-many-incorrect-codes', 0]);
  client.release();
});

test('twenty in ten minutes are the limit of a CPO, fifty in a day, and a 429 or 409 is no attempt', async () => {
  const cpo = await service.cpo();
  const paired = aStation();
  await service.pair(cpo, (await service.code()).code, paired);
  const { code } = await service.code();
  const conflict = () => service.pair(cpo, code, paired);
  let tried = 0;
  for (const expected of [20, 20, 10, 0]) {
    expect((await conflict()).status).toBe(tried === 50 ? 429 : 409);
    const answers = await oneByOne(23, () => wrong(cpo));
    expect(answers.filter((status) => status === 404)).toHaveLength(expected);
    tried += expected;
    await passMinutes(cpo, 10);
  }
  const refused = await wrong(cpo);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(23 * 3600);
  expect((await wrong(await service.cpo())).status).toBe(404);
  await passMinutes(cpo, 25 * 60);
  expect((await wrong(cpo)).status).toBe(404);
});

test('the successes of a batch count in what remains for its other requests', async () => {
  const cpo = await service.cpo();
  const codes = [anIncorrectCode(), anIncorrectCode()];
  await issueDirectly(service.sql, codes);
  const limits = { limits: '(5,10,20,3,0.5)' };
  const request = (code = anIncorrectCode()) => ({ cpoId: cpo.id, code });
  for (let i = 0; i < 2; i++) await pairDirectly(service.sql, [request()], limits);
  const results = await pairDirectly(service.sql, [...codes.map(request), request()], limits);
  expect(results.map(({ outcome }) => outcome)).toEqual(['paired', 'paired', 'incorrect-code']);
  // Two successes raise the limit of 24 hours from 3 to 4.
  expect(results[2]?.allowance).toMatch(/,4,1\)$/);
});

test('the attempt that uses up a day is logged and counted', async () => {
  const strict = await startHarness({ LIMIT_CPO_24H: '3', METRICS_PORT: '0' }, { databaseUrl: service.databaseUrl });
  const cpo = await strict.cpo();
  // Several of a set too.
  const statuses = [...(await times(8, () => wrong(cpo, undefined, strict))), await wrong(cpo, undefined, strict)];
  expect(statusesOf(statuses)).toEqual({ 404: 3, 429: 6 });
  const lines = strict.log.lines.filter(({ message }) => message.includes('used up its incorrect codes of 24 hours'));
  expect(lines.map(({ level, cpo_id }) => [level, cpo_id])).toEqual([['warn', cpo.id]]);
  const metricsUrl = strict.log.lines.find(({ message }) => message === 'metrics')?.url;
  const metrics = await (await fetch(String(metricsUrl))).text();
  expect(metrics).toContain(`scsp_cpo_day_limits_reached_total{cpo="${cpo.id}"} 1`);
  await strict.stop();
});
test('a CPO with successes has not used up a day with the attempts that it has without them', async () => {
  const strict = await startHarness({ LIMIT_CPO_24H: '3' }, { databaseUrl: service.databaseUrl });
  const cpo = await strict.cpo();
  for (let i = 0; i < 4; i++) await strict.pair(cpo, (await strict.code()).code);
  const answers: Answer[] = [];
  for (let i = 0; i < 6; i++) answers.push(await wrong(cpo, undefined, strict));
  expect(statusesOf(answers)).toEqual({ 404: 5, 429: 1 });
  expect(answers[2]?.headers.get('RateLimit')).toContain('"incorrect-codes-cpo-24h";r=2');
  const lines = strict.log.lines.filter(({ message }) => message.includes('used up its incorrect codes of 24 hours'));
  expect(lines.map(({ cpo_id }) => cpo_id)).toEqual([cpo.id]);
  await strict.stop();
});

test('simultaneous attempts on all replicas never get past a limit', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  expect(statusesOf(await times(60, (i) => wrong(cpo, uid, i % 2 ? service : replica)))).toEqual({ 404: 5, 429: 55 });
  const other = await service.cpo();
  expect(statusesOf(await times(100, (i) => wrong(other, undefined, i % 2 ? service : replica)))).toEqual({
    404: 20,
    429: 80,
  });
});

test('among a hundred simultaneous guesses a right code is refused once the limit is reached', async () => {
  for (let round = 0; round < 5; round++) {
    const cpo = await service.cpo();
    const { code, id } = await service.code();
    let right: Promise<Answer> | undefined;
    const guesses = await times(100, async (i) => {
      const answer = await wrong(cpo, undefined, i % 2 ? service : replica);
      // The other guesses are still under way.
      if (answer.status === 429) right ??= untilAnswered(() => service.pair(cpo, code));
      return answer;
    });
    expect(statusesOf(guesses)).toEqual({ 404: 20, 429: 80 });
    expect((await right)?.status).toBe(429);
    expect((await service.followCode(id)).body.status).toBe('active');
  }
});

test('a right code that comes while incorrect ones are being counted waits for the count', async () => {
  const cpo = await service.cpo();
  const { code, id } = await service.code();
  const uid = randomUUID();
  const counting = await service.sql.connect();
  await counting.query('begin');
  const guesses = Array.from({ length: 20 }, () => ({ cpoId: cpo.id, code: anIncorrectCode() }));
  await pairDirectly(counting, guesses);
  const pairing = service.pair(cpo, code, aStation(uid));
  await untilSo(async () => (await service.sql.query(LOCK_WAITS)).rowCount !== 0);
  await counting.query('commit');
  counting.release();
  expect((await pairing).status).toBe(429);
  expect((await service.followCode(id)).body.status).toBe('active');
});

test('under a stricter isolation, a request that waited for a reset is rolled back: its snapshot has what was counted', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  await oneByOne(5, () => wrong(cpo, uid));
  const client = new Client(service.databaseUrl);
  await client.connect();
  await client.query('set session characteristics as transaction isolation level repeatable read');
  const request = { cpoId: cpo.id, code: anIncorrectCode(), uid };
  let waiting: Promise<unknown> | undefined;
  await transaction(service.operator.db, async (tx) => {
    await resetLimits({ ...service.operator, db: tx }, cpo.id);
    waiting = pairDirectly(client, [request]);
    waiting.catch(() => undefined);
    await untilSo(async () => (await service.sql.query(LOCK_WAITS)).rowCount === 1);
  });
  await expect(waiting).rejects.toMatchObject({ code: '40001' });
  expect(await pairDirectly(client, [request])).toMatchObject([{ outcome: 'incorrect-code' }]);
  await client.end();
});

test('a CPO in trouble does not slow another', async () => {
  const trouble = await service.cpo();
  const cpo = await service.cpo();
  const codes = await times(20, () => service.code());
  const [, answers] = await Promise.all([
    times(100, () => wrong(trouble)),
    times(20, (i) => untilAnswered(() => service.pair(cpo, codes[i].code))),
  ]);
  expect(statusesOf(answers)).toEqual({ 200: 20 });
});

test('a CPO whose counters are held back does not hold back another', async () => {
  const [held, cpo] = [await service.cpo(), await service.cpo()];
  const { code } = await service.code();
  const unlock = await service.lockCounter(held);
  // Several, since a lock is not waited for longer than 1.5 s.
  const waiting = oneByOne(4, () => wrong(held));
  await untilSo(async () => (await service.sql.query(LOCK_WAITS)).rowCount !== 0);
  expect((await service.pair(cpo, code)).status).toBe(200);
  await unlock();
  for (const status of await waiting) expect([404, 503]).toContain(status);
});

test('a success counts once for each user, and while the pairing lasts', async () => {
  const cpo = await service.cpo();
  const limit = async () => (await limitsOf(cpo))['incorrect-codes-cpo-10min'];
  const pair = async (user_id: string) => {
    const { code } = await service.code({ user_id, charging_location_id: randomUUID() });
    const station = aStation();
    expect((await service.pair(cpo, code, station)).status).toBe(200);
    return station.uid;
  };
  const [one, other] = [randomUUID(), randomUUID()];
  // An app account that pairs and unpairs as fast as it can.
  for (let i = 0; i < 6; i++) await service.unpairAsCpo(cpo, await pair(one));
  expect(await limit()).toBe('20 of 20');
  for (let i = 0; i < 3; i++) await pair(one);
  expect(await limit()).toBe('20 of 20');
  const uid = await pair(other);
  expect(await limit()).toBe('21 of 21');
  await service.unpairAsApp(uid);
  expect(await limit()).toBe('20 of 20');
});

test('successes allow for typos in their own window, and clear nothing', async () => {
  const cpo = await service.cpo();
  for (let i = 0; i < 8; i++) await service.pair(cpo, (await service.code()).code);
  expect(statusesOf(await times(30, () => wrong(cpo)))).toEqual({ 404: 24, 429: 6 });
  const { code } = await service.code();
  expect((await service.pair(cpo, code)).status).toBe(429);
  // The successes of a moment ago count in 24 hours too, those of yesterday do not.
  await passMinutes(cpo, 10);
  expect((await limitsOf(cpo))['incorrect-codes-cpo-24h']).toBe('30 of 54');
  expect((await limitsOf(cpo))['incorrect-codes-cpo-10min']).toBe('20 of 20');
  await passMinutes(cpo, 24 * 60);
  expect((await limitsOf(cpo))['incorrect-codes-cpo-24h']).toBe('50 of 50');
});

test('GET /v1/scsp/me shows what is left', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  await oneByOne(2, () => wrong(cpo, uid));
  await wrong(cpo);
  await service.pair(cpo, (await service.code()).code);
  await service.pair(cpo, (await service.code()).code);
  const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
  expect(body.limits).toEqual([
    { name: 'incorrect-codes-uid-10min', limit: 5, left: 3, window_seconds: 600 },
    { name: 'incorrect-codes-uid-24h', limit: 10, left: 8, window_seconds: 86400 },
    { name: 'incorrect-codes-cpo-10min', limit: 21, left: 18, window_seconds: 600 },
    { name: 'incorrect-codes-cpo-24h', limit: 51, left: 48, window_seconds: 86400 },
  ]);
});

test('the settings are obeyed', async () => {
  const settings = {
    LIMIT_CPO_UID_10MIN: '2',
    LIMIT_CPO_UID_24H: '3',
    LIMIT_CPO_10MIN: '4',
    LIMIT_CPO_24H: '5',
    LIMIT_PER_SUCCESS: '0',
  };
  const strict = await startHarness(settings, { databaseUrl: service.databaseUrl });
  const cpo = await strict.cpo();
  expect(await oneByOne(3, () => wrong(cpo, 'same', strict))).toEqual([404, 404, 429]);
  expect(await oneByOne(3, () => wrong(cpo, undefined, strict))).toEqual([404, 404, 429]);
  await passMinutes(cpo, 10);
  expect(await oneByOne(2, () => wrong(cpo, 'same', strict))).toEqual([404, 429]);
  expect(await oneByOne(1, () => wrong(cpo, undefined, strict))).toEqual([429]);
  await strict.stop();
});

/** The chance that one guess of the best length hits, when so many codes are active and issued by the rules. */
function bestGuess(active: number): number {
  let best = 0;
  for (let length = 6, left = active; left > 0; length++) {
    const here = Math.min(left, capacity(length));
    best = Math.max(best, here / 10 ** length);
    left -= here;
  }
  return best;
}

const cancelAll = () =>
  service.sql.query(`update pairing_codes set status = 'cancelled', ended_at = now() where status = 'active'`);
const ATTACKERS = [
  { who: 'with a token', pairs: false },
  { who: 'with a token and an app account, who pairs and unpairs', pairs: true },
];

test.each(ATTACKERS)(
  'a day of guessing by a CPO $who, with all codes active that may be, hits with a chance of at most 0.28 %',
  async ({ pairs }) => {
    const cpo = await service.cpo();
    const active = Array.from({ length: capacity(6) }, (_, i) => String(100_000 + i * 11_111));
    await cancelAll();
    await issueDirectly(service.sql, active);
    const user_id = randomUUID();
    let guesses = 0;
    for (let minute = 0; minute < 24 * 60; ) {
      if (pairs) {
        const uid = randomUUID();
        const { code } = await service.code({ user_id });
        if ((await service.pair(cpo, code, aStation(uid))).status === 200) await service.unpairAsCpo(cpo, uid);
      }
      // Each guess is sent twice, the second time when other codes may be active.
      const guess = () => ({ cpoId: cpo.id, code: String(900_000 + Math.floor(Math.random() * 99_999)) });
      const results = await pairDirectly(service.sql, Array.from({ length: 25 }, guess));
      const more = await pairDirectly(service.sql, Array.from({ length: 5 }, guess));
      const all = [...results, ...more];
      expect(all.filter(({ outcome }) => outcome === 'paired')).toHaveLength(0);
      guesses += all.filter(({ outcome }) => outcome === 'incorrect-code').length;
      const waits = all.flatMap(({ retry_after }) => retry_after ?? []);
      const seconds = Math.max(60, Math.min(...waits));
      await passSeconds(cpo, seconds);
      minute += Math.ceil(seconds / 60);
    }
    expect(guesses).toBe(50);
    expect(bestGuess(active.length)).toBeLessThanOrEqual(1 / GUESS_ODDS);
    // A repeated guess meets the codes of one more minute of the ten that a code lives.
    expect(1.1 * guesses * bestGuess(active.length)).toBeLessThanOrEqual(0.0028);
    await cancelAll();
  },
);

test.each([10, 100, 100_000])('with %i codes active, a guess hits with a chance of at most 1 in 20,000', (active) => {
  expect(bestGuess(active)).toBeLessThanOrEqual(1 / GUESS_ODDS);
});

test.each([10, 1_000, 10_000])(
  'an honest CPO with %i pairings a day, three times as many in the evening, a typo for every ten and a retry of each 404 never sees a 429',
  async (aDay) => {
    const cpo = await service.cpo();
    const cpoId = cpo.id;
    // The day until its evening: 126 steps of ten minutes, with a weight of one of 180 each.
    const before = Math.round((aDay / 180) * 126);
    await service.sql.query(
      `insert into pairings (id, cpo_id, station_uid, user_id, charging_location_id, paired_at)
       select uuid_in(overlay(gen_random_uuid()::text placing '7fffffff-ffff-7' from 1 for 15)::cstring), $1, gen_random_uuid(),
         gen_random_uuid(), 'home', now() - i * interval '21 hours' / $2
       from generate_series(1, $2::int) i`,
      [cpoId, before],
    );
    await service.sql.query(
      `insert into failed_attempts (cpo_id, failed_at, seq, uid_hash, code_hash)
       select $1, now() - (1 - i::float8 / n) * interval '21 hours', i, sha256(i::text::bytea), ''
       from (select $2::int / 10 as n) n, generate_series(1, n) i`,
      [cpoId, before],
    );
    await service.sql.query('update cpo_tries set failed_count = $2, last_failed_at = now() where cpo_id = $1', [
      cpoId,
      Math.floor(before / 10),
    ]);

    const outcomes: Record<string, number> = {};
    let started = 0;
    let sent = 0;
    for (let step = 0; step < 18; step++) {
      const until = started + (aDay / 180) * 3;
      const codes = Array.from({ length: Math.round(until) - Math.round(started) }, anIncorrectCode);
      started = until;
      if (codes.length > 0) await issueDirectly(service.sql, codes);
      let requests = codes.flatMap((code) => {
        const request = { cpoId, code, uid: randomUUID() };
        if (sent++ % 10 !== 5) return [request];
        const typo = { ...request, code: anIncorrectCode() };
        return [typo, typo, request];
      });
      while (requests.length > 0) {
        const set = requests.slice(0, 48);
        const results = await pairDirectly(service.sql, set);
        // As the service does, what has to wait for others of its set is sent again.
        requests = [...set.filter((_, i) => results[i]?.outcome === 'retry'), ...requests.slice(48)];
        for (const { outcome } of results) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
      await passMinutes(cpo, 10);
    }
    const { retry: _, paired, ...others } = outcomes;
    expect(Object.keys(others)).toEqual(aDay === 10 ? expect.anything() : ['incorrect-code']);
    expect(others['too-many-incorrect-codes']).toBe(undefined);
    expect(paired).toBe(sent);
  },
  60_000,
);
