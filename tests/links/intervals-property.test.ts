import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { deriveKeys } from '../../src/crypto/keys';
import { random as secureRandom } from '../../src/crypto/random';
import { createDataSource, type Database } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { withSession } from '../../src/db/session';
import { type LinkQuestion, resolveLinks } from '../../src/links/links';
import { createMetrics } from '../../src/metrics/metrics';
import { forgetUser } from '../../src/users/forget';
import { endLater } from '../harness/clean-up';
import { createTestDatabase, recordedLog, SECRET_KEY } from '../harness/harness';
import { hashOf, pairDirectly } from '../harness/pair-function';
import { randomFrom } from '../harness/repeatable-random';
import { untilSo } from '../harness/until';

// Random histories of a few uids: pairings by either method, unpairs and forgotten users, of which some wait for a transaction
// that commits or rolls back later, and some follow a clock that was ahead. Afterwards the links are compared with a naive
// model: a list of what the calls answered, with the times of the rows.

const UNLIMITED = '(100000,100000,100000,100000,0.5)';
const STEPS = 7;
/** How far a clock was ahead, in milliseconds. */
const AHEAD = [1, 2, 40, 3_000];

type Random = ReturnType<typeof randomFrom>;
type Interval = { id: string; user: string; cpo: string; ended: boolean; forgotten: boolean };
/** What a call did to the model; undefined: nothing. */
type Effect = (() => void) | undefined;
type Place = { db: Database; holder: Client; other: Client; observer: Client; holderPid: number; cpos: string[] };

/** One uid as a list of intervals, in the order in which they were paired. */
class NaiveStation {
  readonly uid = `s-${randomUUID()}`;
  readonly intervals: Interval[] = [];

  pair = (id: string, user: string, cpo: string) => () => {
    this.intervals.push({ id, user, cpo, ended: false, forgotten: false });
  };
  end = (id: string) => () => {
    for (const one of this.intervals) if (one.id === id) one.ended = true;
  };
  forget = (user: string) => {
    for (const one of this.intervals) if (one.user === user) Object.assign(one, { ended: true, forgotten: true });
  };
}

async function openPlace(url: string, isolation: string): Promise<Place> {
  const strict = withSession(url, {
    synchronous_commit: 'off',
    default_transaction_isolation: isolation.replace(' ', '\\ '),
  });
  const open = async (connectionString: string) => {
    const client = new Client(connectionString);
    await client.connect();
    endLater(() => client.end());
    return client;
  };
  const [holder, other, observer] = [await open(strict), await open(strict), await open(url)];
  const db = await createDataSource(strict, schema, { max: 2 }).initialize();
  endLater(() => db.destroy());
  const { rows } = await holder.query('select pg_backend_pid() as pid');
  const cpos = [randomUUID(), randomUUID()];
  for (const id of cpos) await observer.query('insert into cpos (id, name) values ($1::uuid, $1::text)', [id]);
  // Without the trigger that counts codes, which all histories would wait for.
  await observer.query('set session_replication_role = replica');
  return { db, holder, other, observer, holderPid: rows[0].pid, cpos };
}

let lastId = 0;
/** Ids in the order of the calls. */
const nextId = () => `00000000-0000-4000-8000-${String(++lastId).padStart(12, '0')}`;

const log = recordedLog();
const forgetting = {
  keys: deriveKeys(SECRET_KEY),
  metrics: createMetrics(log.log),
  random: secureRandom,
  actor: 'test',
};

/** The service retries these, too. */
const LOST_RACE = '40001';

/** Whether PostgreSQL refused a call, or all its repetitions for a second, because of others at the same time. */
const hasLostRace = (error: unknown): boolean =>
  error instanceof Error && (Reflect.get(error, 'code') === LOST_RACE || hasLostRace(error.cause));

/** One history, and the questions that it leaves with the answers of the model. */
class History {
  readonly stations = [new NaiveStation(), new NaiveStation()];
  readonly users = [randomUUID(), randomUUID(), randomUUID()];

  constructor(
    private readonly place: Place,
    private readonly random: Random,
  ) {}

  async run(): Promise<void> {
    for (let step = 0; step < STEPS; step++) {
      if (this.random.below(3) === 0) await this.overlap();
      else (await this.call(this.place.other))?.();
      if (this.random.below(4) === 0) await this.setClockBack(this.place.other, this.random.of(this.stations));
    }
  }

  /** Runs a call that waits for another one, which commits or rolls back. */
  private async overlap(): Promise<void> {
    const { holder, other, observer, holderPid } = this.place;
    const station = this.random.of(this.stations);
    await holder.query('begin');
    const first = await this.lostRace(() => this.call(holder, station));
    if (first !== undefined && this.random.below(2) === 0) await this.setClockBack(holder, station);
    let answered = false;
    const second = this.call(other, station).finally(() => {
      answered = true;
    });
    const isWaiting = async () => {
      const sql = `select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and $1 = any (pg_blocking_pids(pid))`;
      return answered || (await observer.query(sql, [holderPid])).rowCount === 1;
    };
    await untilSo(isWaiting);
    const [done, undone] = answered ? [await second, undefined] : [undefined, second];
    done?.();
    if (await this.commit(first !== undefined && this.random.below(4) > 0)) first?.();
    (await undone)?.();
  }

  /** Ends the transaction of the holder; returns whether it was committed. */
  private async commit(wanted: boolean): Promise<boolean> {
    const sql = wanted ? 'commit' : 'rollback';
    const result = await this.place.holder.query(sql).catch((error) => {
      if (error.code !== LOST_RACE) throw error;
    });
    // PostgreSQL answers ROLLBACK to a commit after an error.
    return result?.command === 'COMMIT';
  }

  /** Something that an app, a CPO or an operator does to a station. */
  private call(client: Client, station = this.random.of(this.stations)): Promise<Effect> {
    const cpo = this.random.of(this.place.cpos);
    const user = this.random.of(this.users);
    const kind = this.random.below(10);
    const run = (): Promise<Effect> => {
      if (kind < 4) return this.pair(client, station, cpo, user);
      if (kind < 5) return this.redeem(client, station, cpo, user);
      if (kind < 9 || client === this.place.holder) return this.unpair(client, station);
      return this.forget(user);
    };
    return client === this.place.holder ? run() : this.untilWon(run);
  }

  private async untilWon(run: () => Promise<Effect>): Promise<Effect> {
    for (;;) {
      try {
        return await run();
      } catch (error) {
        if (!hasLostRace(error)) throw error;
      }
    }
  }

  private async lostRace(run: () => Promise<Effect>): Promise<Effect> {
    return run().catch((error) => {
      if (error.code !== LOST_RACE) throw error;
      return undefined;
    });
  }

  private async pair(client: Client, { uid, pair }: NaiveStation, cpo: string, user: string): Promise<Effect> {
    const code = secureRandom.digits(20);
    const pairingId = nextId();
    await this.place.observer.query(
      `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
       values (gen_random_uuid(), decode(substr($1, 3), 'hex'), $2, $3, gen_random_uuid()::text, now() + interval '1 hour')`,
      [hashOf(code), code.length, user],
    );
    for (;;) {
      const [result] = await pairDirectly(client, [{ cpoId: cpo, code, uid, pairingId }], { limits: UNLIMITED });
      if (result?.outcome === 'paired') return pair(pairingId, user, cpo);
      if (result?.outcome !== 'retry') return undefined;
    }
  }

  private async redeem(client: Client, { uid, pair }: NaiveStation, cpo: string, user: string): Promise<Effect> {
    const [pairing_id, attempt_id] = [nextId(), randomUUID()];
    await client.query(`insert into redemption_attempts (id, user_hash) values ($1, '')`, [attempt_id]);
    const request = {
      ...{ pairing_id, attempt_id, cpo_id: cpo, user_id: user, uid, station_uid: uid, event_id: randomUUID() },
      ...{ charging_location_id: 'home', payload_protocol: 'ocpp2.0.1' },
    };
    const { rows } = await client.query(`select outcome from scsp_redeem_v3($1, '[]', '[]')`, [
      JSON.stringify(request),
    ]);
    return rows[0].outcome === 'paired' ? pair(pairing_id, user, cpo) : undefined;
  }

  private async unpair(client: Client, { uid, end }: NaiveStation): Promise<Effect> {
    const sql = `select pairing_id from scsp_unpair_v3($1, 'app', $2, null, null, null)`;
    const { rows } = await client.query(sql, [uid, randomUUID()]);
    return rows[0] && end(rows[0].pairing_id);
  }

  private async forget(user: string): Promise<Effect> {
    await forgetUser({ ...forgetting, db: this.place.db }, user);
    return () => {
      for (const station of this.stations) station.forget(user);
    };
  }

  /** The last time that was stored of a station is that of a clock that was ahead; since then it was set back. */
  private async setClockBack(client: Client, { uid }: NaiveStation): Promise<void> {
    await client
      .query(
        `update pairings p set
           paired_at = p.paired_at + case when p.ended_at is null then d else '0' end, ended_at = p.ended_at + d
         from make_interval(secs => $2::float / 1000) d
         where p.id = (select id from pairings where station_uid = $1 order by id desc limit 1)`,
        [uid, this.random.of(AHEAD)],
      )
      .catch((error) => {
        if (error.code !== LOST_RACE) throw error;
      });
  }
}

type Row = { id: string; paired_at: Date; ended_at: Date | null };
type Expected = LinkQuestion & { readonly pairingId: string | null };

/** The rows of a history break no rule; returns the questions at every boundary, with the answers of the model. */
function check({ stations }: History, rows: ReadonlyMap<string, Row>, cpos: readonly string[]): Expected[] {
  return stations.flatMap(({ uid, intervals }) => {
    const timed = intervals.map(({ id, ...interval }) => {
      const row = rows.get(id);
      if (row === undefined) throw new Error(`the pairing ${id} was not stored`);
      return { id, ...interval, begin: row.paired_at.getTime(), end: row.ended_at?.getTime() ?? Infinity };
    });
    const visible = timed.filter(({ forgotten }) => !forgotten);
    expect(timed.map(({ id, end }) => [id, end < Infinity])).toEqual(intervals.map(({ id, ended }) => [id, ended]));
    for (const { begin, end } of timed) expect(end).toBeGreaterThanOrEqual(begin);
    for (const [i, { begin }] of visible.slice(1).entries()) expect(begin).toBeGreaterThanOrEqual(visible[i]?.end ?? 0);
    const boundaries = timed.flatMap(({ begin, end }) => (end < Infinity ? [begin, end] : [begin]));
    const instants = new Set(boundaries.flatMap((instant) => [instant - 1, instant, instant + 1]));
    return [...instants].flatMap((instant) =>
      cpos.map((cpoId) => ({
        ...{ uid, cpoId, at: new Date(instant).toISOString() },
        pairingId:
          visible.find(({ cpo, begin, end }) => cpo === cpoId && begin <= instant && instant < end)?.id ?? null,
      })),
    );
  });
}

const WORKERS = 4;
/** Seconds suffice where nothing else runs. */
const LONGEST_MS = 180_000;

/** A change of how links are stored is worth the long form, which takes five times as long. */
const READ_COMMITTED = process.env.LONG_HISTORIES === 'true' ? 700 : 150;

test.each([
  ['read committed', READ_COMMITTED],
  ['repeatable read', 150],
  ['serializable', 150],
])(
  'under %s, %i random histories leave intervals that do not overlap and links that agree',
  async (isolation, count) => {
    const database = await createTestDatabase();
    const found = { intervals: 0, questions: 0, linked: 0 };
    const work = async (worker: number) => {
      const place = await openPlace(database.url, isolation);
      for (let seed = worker; seed < count; seed += WORKERS) {
        const history = new History(place, randomFrom(seed));
        await history.run();
        const { rows } = await place.observer.query<Row>(
          'select id, paired_at, ended_at from pairings where id = any ($1)',
          [history.stations.flatMap(({ intervals }) => intervals.map(({ id }) => id))],
        );
        const expected = check(history, new Map(rows.map((row) => [row.id, row])), place.cpos);
        const links = await resolveLinks(place.db, expected);
        expect([seed, ...links.map((link) => link?.pairingId ?? null)]).toEqual([
          seed,
          ...expected.map(({ pairingId }) => pairingId),
        ]);
        found.intervals += rows.length;
        found.questions += expected.length;
        found.linked += links.filter((link) => link !== null).length;
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, (_, worker) => work(worker)));
    // The histories had what they are about.
    expect(found.intervals).toBeGreaterThan(2 * count);
    expect(found.linked).toBeGreaterThan(count);
  },
  LONGEST_MS,
);
