import { randomUUID } from 'node:crypto';
import { capacity, GUESS_ODDS } from '../src/codes/code';
import { pairStatement } from '../src/pairing/pair-statement';
import { type Answer, aStation, type Harness, startHarness, type TestCpo } from './harness';
import { untilSo } from './until';

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

/** Longer than any code that is issued here. */
const WRONG = '0000000000000';
const wrong = (cpo: TestCpo, uid?: string, by = service) => by.pair(cpo, WRONG, aStation(uid));
const LOCK_WAITS = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
const times = <T>(n: number, make: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const inTurn = async (n: number, make: () => Promise<Answer>) => {
  const statuses: number[] = [];
  for (let i = 0; i < n; i++) statuses.push((await make()).status);
  return statuses;
};
const statusesOf = (answers: Answer[]) => {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};
/** Moves what was counted into the past, as if so many minutes went by. */
const passMinutes = (cpo: TestCpo, minutes: number, halfHours = Math.floor(minutes / 30)) =>
  service.sql.query(
    `update cpo_tries set minute = minute - $2::int, half_hour = half_hour - $3::int,
       wrong_at = array(select w - make_interval(mins => $2::int) from unnest(wrong_at) with ordinality as t (w, i) order by i)
     where cpo_id = $1`,
    [cpo.id, minutes, halfHours],
  );

test('five incorrect codes in ten minutes are the limit of a CPO and uid, in any spelling', async () => {
  const cpo = await service.cpo();
  const uid = `Guess-${randomUUID()}`;
  expect(await inTurn(5, () => wrong(cpo, uid))).toEqual([404, 404, 404, 404, 404]);
  const refused = await wrong(cpo, uid.toUpperCase());
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-incorrect-codes']);
  const wait = Number(refused.headers.get('Retry-After'));
  expect(wait).toBeGreaterThan(590);
  expect(wait).toBeLessThanOrEqual(600);
  expect(refused.headers.get('RateLimit-Policy')).toBe(
    '"incorrect-codes-uid-10min";q=5;w=600, "incorrect-codes-cpo-10min";q=20;w=600, "incorrect-codes-cpo-24h";q=50;w=86400',
  );
  expect(refused.headers.get('RateLimit')).toBe(
    `"incorrect-codes-uid-10min";r=0;t=${wait}, "incorrect-codes-cpo-10min";r=15, "incorrect-codes-cpo-24h";r=45`,
  );
  expect((await wrong(cpo)).status).toBe(404);
  expect((await wrong(await service.cpo(), uid)).status).toBe(404);
});

test('a right code during a 429 is not accepted, and is good again when the time is over', async () => {
  const cpo = await service.cpo();
  const { code, id } = await service.code();
  const uid = randomUUID();
  await inTurn(5, () => wrong(cpo, uid));
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(429);
  expect((await service.followCode(id)).body.status).toBe('active');
  await passMinutes(cpo, 10);
  expect((await service.pair(cpo, code, aStation(uid))).status).toBe(200);
});

test('twenty in ten minutes are the limit of a CPO, fifty in a day, and a 429 or 409 is no try', async () => {
  const cpo = await service.cpo();
  const paired = aStation();
  await service.pair(cpo, (await service.code()).code, paired);
  await passMinutes(cpo, 24 * 60);
  const { code } = await service.code();
  const conflict = () => service.pair(cpo, code, paired);
  let tried = 0;
  for (const expected of [20, 20, 10, 0]) {
    expect((await conflict()).status).toBe(tried === 50 ? 429 : 409);
    const answers = await inTurn(23, () => wrong(cpo));
    expect(answers.filter((status) => status === 404)).toHaveLength(expected);
    tried += expected;
    await passMinutes(cpo, 10, 0);
  }
  const refused = await wrong(cpo);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(23 * 3600);
  expect((await wrong(await service.cpo())).status).toBe(404);
  await passMinutes(cpo, 25 * 60);
  expect((await wrong(cpo)).status).toBe(404);
});

test('simultaneous tries on all replicas never get past a limit', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  expect(statusesOf(await times(60, (i) => wrong(cpo, uid, i % 2 ? service : replica)))).toEqual({ 404: 5, 429: 55 });
  const other = await service.cpo();
  expect(statusesOf(await times(100, (i) => wrong(other, undefined, i % 2 ? service : replica)))).toEqual({
    404: 20,
    429: 80,
  });
});

test('a right code among a hundred simultaneous guesses is accepted only while there is room', async () => {
  for (let round = 0; round < 5; round++) {
    const cpo = await service.cpo();
    const { code, id } = await service.code();
    const answers = await times(101, (i) =>
      i === 100 ? service.pair(cpo, code) : wrong(cpo, undefined, i % 2 ? service : replica),
    );
    expect(statusesOf(answers)[404]).toBe(20);
    // It came last to this service, behind fifty guesses.
    expect(answers[100]?.status).toBe(429);
    expect((await service.followCode(id)).body.status).toBe('active');
  }
});

test('a right code that comes while incorrect ones are being counted waits for the count', async () => {
  const cpo = await service.cpo();
  const { code, id } = await service.code();
  const uid = randomUUID();
  const holder = await service.sql.connect();
  await holder.query('begin');
  await holder.query(
    'update cpo_tries set wrong_at = array_fill(now(), array[5]), wrong_uid = array_fill($2::text, array[5]) where cpo_id = $1',
    [cpo.id, uid],
  );
  const pairing = service.pair(cpo, code, aStation(uid));
  await untilSo(async () => (await service.sql.query(LOCK_WAITS)).rowCount !== 0);
  await holder.query('commit');
  holder.release();
  expect((await pairing).status).toBe(429);
  expect((await service.followCode(id)).body.status).toBe('active');
});

test('a CPO in trouble does not slow another', async () => {
  const trouble = await service.cpo();
  const cpo = await service.cpo();
  const codes = await times(20, () => service.code());
  const [, answers] = await Promise.all([
    times(100, () => wrong(trouble)),
    times(20, (i) => service.pair(cpo, codes[i].code)),
  ]);
  expect(statusesOf(answers)).toEqual({ 200: 20 });
});

test('a CPO whose counters are held back does not hold back another', async () => {
  const [held, cpo] = [await service.cpo(), await service.cpo()];
  const { code } = await service.code();
  const holder = await service.sql.connect();
  await holder.query('begin');
  await holder.query('select from cpo_tries where cpo_id = $1 for update', [held.id]);
  // Several, since a lock is not waited for longer than 1.5 s.
  const waiting = inTurn(4, () => wrong(held));
  await untilSo(async () => (await service.sql.query(LOCK_WAITS)).rowCount !== 0);
  expect((await service.pair(cpo, code)).status).toBe(200);
  await holder.query('commit');
  holder.release();
  for (const status of await waiting) expect([404, 503]).toContain(status);
});

test('successes make room for typos in their own window, and clear nothing', async () => {
  const cpo = await service.cpo();
  for (let i = 0; i < 8; i++) await service.pair(cpo, (await service.code()).code);
  expect(statusesOf(await times(30, () => wrong(cpo)))).toEqual({ 404: 24, 429: 6 });
  const { code } = await service.code();
  expect((await service.pair(cpo, code)).status).toBe(429);
});

test('GET /v1/scsp/me shows what is left', async () => {
  const cpo = await service.cpo();
  const uid = randomUUID();
  await inTurn(2, () => wrong(cpo, uid));
  await wrong(cpo);
  await service.pair(cpo, (await service.code()).code);
  await service.pair(cpo, (await service.code()).code);
  const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
  expect(body.limits).toEqual([
    { name: 'incorrect-codes-uid-10min', limit: 5, left: 3, window_seconds: 600 },
    { name: 'incorrect-codes-cpo-10min', limit: 21, left: 18, window_seconds: 600 },
    { name: 'incorrect-codes-cpo-24h', limit: 51, left: 48, window_seconds: 86400 },
  ]);
});

test('the settings are obeyed', async () => {
  const settings = { LIMIT_CPO_UID_10MIN: '2', LIMIT_CPO_10MIN: '3', LIMIT_CPO_24H: '4', LIMIT_PER_SUCCESS: '0' };
  const strict = await startHarness(settings, { databaseUrl: service.databaseUrl });
  const cpo = await strict.cpo();
  expect(await inTurn(3, () => wrong(cpo, 'same', strict))).toEqual([404, 404, 429]);
  expect(await inTurn(2, () => wrong(cpo, undefined, strict))).toEqual([404, 429]);
  await passMinutes(cpo, 10, 0);
  expect(await inTurn(2, () => wrong(cpo, undefined, strict))).toEqual([404, 429]);
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

test.each([10, 100, 100_000])(
  'a day of guessing by one CPO, with %i codes active, hits with a chance of at most 0.25 %%',
  async (active) => {
    const cpo = await service.cpo();
    let tries = 0;
    for (let minute = 0; minute < 24 * 60; ) {
      const answers = await times(25, () => wrong(cpo));
      tries += statusesOf(answers)[404] ?? 0;
      const wait = Math.min(
        ...answers.filter(({ status }) => status === 429).map(({ headers }) => Number(headers.get('Retry-After'))),
      );
      const minutes = Math.max(1, Math.ceil(wait / 60));
      await passMinutes(cpo, minutes, Math.floor((minute + minutes) / 30) - Math.floor(minute / 30));
      minute += minutes;
    }
    expect(tries).toBeGreaterThanOrEqual(50);
    expect(tries).toBeLessThanOrEqual(50);
    expect(bestGuess(active)).toBeLessThanOrEqual(1 / GUESS_ODDS);
    expect(tries * bestGuess(active)).toBeLessThanOrEqual(0.0025);
  },
);

test('a CPO with 10,000 pairings a day, three times as many in the evening and a typo for every ten never sees a 429', async () => {
  const cpo = await service.cpo();
  const statement = pairStatement(service.config);
  let typos = 0;
  let outcomes: Record<string, number> = {};
  let day: Record<string, number> = {};
  // Two days, so that the second begins with a full window behind it; ten minutes a step.
  for (let step = 0; step < 2 * 144; step++) {
    if (step === 144) day = { ...outcomes };
    const evening = step % 144 >= 108 && step % 144 < 126;
    const pairings = Math.round((10_000 / 180) * (evening ? 3 : 1));
    const { rows: codes } = await service.sql.query(
      `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
       select gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 6, gen_random_uuid()::text, 'home', now() + interval '1 minute'
       from generate_series(1, $1) returning '\\x' || encode(hash, 'hex') as hash`,
      [pairings],
    );
    const requests = codes.flatMap(({ hash }, i) => {
      const request = (code: string) => ({
        pairing_id: randomUUID(),
        event_id: randomUUID(),
        attempt_id: randomUUID(),
        request_id: 'r',
        code_length: 6,
        code_hashes: [code],
        payload_protocol: 'ocpp1.6',
        uid: `${step}-${i}`,
        station_uid: `${step}-${i}`,
        evses: [],
      });
      return i % 10 === 5 ? [request('\\x00'), request(hash)] : [request(hash)];
    });
    for (let from = 0; from < requests.length; from += 64) {
      const set = requests.slice(from, from + 64).map((request, n) => ({ ...request, n }));
      const { rows } = await service.sql.query(statement, [JSON.stringify(set), cpo.id]);
      for (const { outcome } of rows) outcomes = { ...outcomes, [outcome]: (outcomes[outcome] ?? 0) + 1 };
    }
    typos += requests.length - codes.length;
    await passMinutes(cpo, 10, (step + 1) % 3 === 0 ? 1 : 0);
  }
  expect(Object.keys(outcomes).sort()).toEqual(['incorrect-code', 'paired']);
  expect(outcomes['incorrect-code']).toBe(typos);
  expect((outcomes.paired ?? 0) - (day.paired ?? 0)).toBeGreaterThanOrEqual(9_900);
}, 120_000);
