import { Client } from 'pg';
import { type Filled, type Level, openLevel, urlOf } from './level';
import { type Cost, measure, PAIRING, summary } from './operations';

const DAYS = 32;
const ROUNDS = 5;
const LOADED = 8192;

/** The first id of the day so many days ago: ids are UUIDv7, so that partitions of ids are partitions of time. */
const from = (daysAgo: number) => {
  const day = Math.floor(Date.now() / 86_400_000) - daysAgo;
  const hex = (day * 86_400_000).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
};

const PARTITIONED = `
alter table attempts rename to attempts_plain;
alter table attempts_plain rename constraint attempts_pkey to attempts_plain_pkey;
alter index attempts_uid_idx rename to attempts_plain_uid_idx;
create table attempts (like attempts_plain including defaults) partition by range (id);
alter table attempts add constraint attempts_pkey primary key (cpo_id, id);
create index attempts_uid_idx on attempts (lower(uid));
${Array.from({ length: DAYS }, (_, day) => `create table attempts_${day} partition of attempts for values from ('${from(day)}') to ('${from(day - 1)}')`).join(';\n')};
insert into attempts select * from attempts_plain;
drop table attempts_plain;
analyze attempts`;

export type Partitions = {
  days: number;
  plain: Cost;
  partitioned: Cost & { ratio: number };
  /** What forgetting a user looks up: the attempts with a uid, ms. */
  byUidMs: { plain: number; partitioned: number };
  dropped: {
    seconds: number;
    rate: number;
    without: { p50: number; p99: number };
    during: { p50: number; p99: number };
  };
};

/** Attempts in a partition a day beside attempts in one table, on copies of the same database. */
export async function partitions(
  folder: string,
  adminUrl: string,
  filled: Filled,
  postmaster: number,
  port: number,
): Promise<Partitions> {
  const names = ['plain', 'partitioned'].map((name) => `${filled.database}_${name}`);
  const admin = new Client(adminUrl);
  await admin.connect();
  const levels: Level[] = [];
  try {
    for (const name of names)
      await admin.query(`create database ${name} template ${filled.database} strategy file_copy`);
    const scratch = new Client(urlOf(adminUrl, names[1] ?? ''));
    await scratch.connect();
    await scratch.query(PARTITIONED);
    await scratch.end();
    for (const [i, database] of names.entries())
      levels.push(await openLevel(folder, adminUrl, { ...filled, database }, port + i));
    const [plain, partitioned] = levels as [Level, Level];
    for (const level of levels) for (let i = 0; i < 2; i++) await measure(folder, level, PAIRING, postmaster);
    const costs: [Cost[], Cost[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++)
      for (const [i, level] of levels.entries())
        costs[i as 0 | 1].push(await measure(folder, level, PAIRING, postmaster));
    const rate = Math.floor(summary(costs[0], costs[0]).rps / 2);
    const load = () => measure(folder, partitioned, PAIRING, postmaster, { count: LOADED, rate });
    // Each connection plans anew a few times before it keeps a plan, and of many partitions that takes long.
    await load();
    return {
      days: DAYS,
      plain: summary(costs[0], costs[0]),
      partitioned: summary(costs[1], costs[0]),
      byUidMs: { plain: await byUid(plain), partitioned: await byUid(partitioned) },
      dropped: { rate, without: await load(), ...(await dropping(partitioned, load)) },
    };
  } finally {
    for (const level of levels) await level.stop();
    for (const name of names) await admin.query(`drop database if exists ${name}`);
    await admin.end();
  }
}

async function byUid({ sql }: Level): Promise<number> {
  const one = `select cpo_id, id from attempts where lower(uid) = any (array(select uid from stations limit 3))`;
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    const { rows } = await sql.query(`explain (analyze, timing off, format json) ${one}`);
    const [plan] = rows[0]['QUERY PLAN'];
    times.push(plan['Planning Time'] + plan['Execution Time']);
  }
  return times.sort((a, b) => a - b)[10] ?? 0;
}

/** A partition a second is dropped, and one made for a day to come, while stations are paired. */
async function dropping({ sql }: Level, load: () => Promise<Cost>) {
  let busy = true;
  const during = load().finally(() => {
    busy = false;
  });
  let [dropped, ms] = [0, 0];
  while (busy) {
    const began = performance.now();
    await sql.query(`drop table attempts_${DAYS - 1 - dropped}`);
    ms += performance.now() - began;
    await sql.query(
      `create table attempts_next_${dropped} partition of attempts for values from ('${from(-1 - dropped)}') to ('${from(-2 - dropped)}')`,
    );
    dropped++;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  return { during: await during, seconds: ms / 1000 / dropped };
}
