import { createHash, randomInt, randomUUID } from 'node:crypto';
import { cpuOf, cpuOfPostgres, cpuSince, median, percentile, send, wire } from '../processes';
import { seedStation } from '../world';
import { BIG_USER, FEWEST, users } from './fill';
import { codes, type Level, whole } from './level';

export type Cost = { serviceUs: number; postgresUs: number; p50: number; p99: number; rps: number; walBytes: number };

const BURST = 48;

type Operation = {
  readonly name: string;
  readonly status: string;
  /** Of a round. */
  readonly requests: number;
  /** So many are sent between two times of `restore`, which is not measured. */
  readonly step: number;
  make(level: Level, count: number): Promise<string[]> | string[];
  restore?(level: Level): Promise<unknown>;
};

const pairing = (level: Level, code: string) =>
  wire('POST', '/v1/scsp/ocpp2.0.1/pair', level.cpoToken, {
    code,
    charging_station: seedStation(randomUUID().replaceAll('-', '').slice(0, 24)),
  });
const stationsOf = (level: Level, user: string) =>
  wire('GET', `/v1/app/charging-stations?user_id=${encodeURIComponent(user)}`, level.appToken);

/** As `USER` of the filling names them. */
function anybody({ count }: Level): string {
  const hex = createHash('md5')
    .update(`user${randomInt(users(Math.max(count, FEWEST)))}`)
    .digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export const PAIRING: Operation = {
  name: 'a pairing',
  status: '200',
  requests: 2048,
  step: 2048,
  make: async (level, count) => (await codes(level, count)).map((code) => pairing(level, code)),
};

export const ISSUE: Operation = {
  name: 'a code issued',
  status: '201',
  requests: 480,
  // Fifty codes of six digits may be active; those of a step are used up before the next.
  step: 48,
  make: (level, count) =>
    Array.from({ length: count }, () =>
      wire('POST', '/v1/app/pairing-codes', level.appToken, {
        user_id: randomUUID(),
        charging_location_id: randomUUID().slice(0, 24),
      }),
    ),
  restore: ({ sql }) =>
    sql.query(`update pairing_codes set status = 'used', ended_at = now() where status = 'active' and length < 10`),
};

export const OPERATIONS: readonly Operation[] = [
  PAIRING,
  {
    name: 'a refused code',
    status: '404',
    requests: 1000,
    step: 100,
    make: (level, count) =>
      Array.from({ length: count }, () => pairing(level, String(randomInt(1_000_000)).padStart(6, '0'))),
    // No CPO has thousands of incorrect codes in ten minutes.
    restore: ({ sql }) => sql.query('delete from failed_attempts'),
  },
  ISSUE,
  {
    name: 'a page of 50 stations',
    status: '200',
    requests: 300,
    step: 300,
    make: (level, count) => Array.from({ length: count }, () => stationsOf(level, BIG_USER)),
  },
  {
    name: 'the stations of any user',
    status: '200',
    requests: 1000,
    step: 1000,
    make: (level, count) => Array.from({ length: count }, () => stationsOf(level, anybody(level))),
  },
];

/** Sends so many requests of an operation to a level and tells what each has cost. */
export async function measure(
  folder: string,
  level: Level,
  operation: Operation,
  postmaster: number,
  { count = operation.requests, rate }: { count?: number; rate?: number } = {},
): Promise<Cost> {
  const latencies: number[] = [];
  let [serviceUs, postgresUs, seconds, walBytes] = [0, 0, 0, 0];
  // The pool closes connections that were idle while other levels had their turn: new ones, with their plans, come first.
  await send(folder, level.port, await operation.make(level, BURST));
  await operation.restore?.(level);
  for (let left = count; left > 0; left -= operation.step) {
    const step = rate === undefined ? Math.min(operation.step, left) : count;
    const requests = await operation.make(level, step);
    await level.sql.query('checkpoint');
    const wal = await walOf(level);
    const [service, postgres] = [cpuOf(level.pid), cpuOfPostgres(postmaster)];
    const result = await send(folder, level.port, requests, { rate });
    serviceUs += cpuOf(level.pid) - service;
    postgresUs += cpuSince(postgres, cpuOfPostgres(postmaster));
    walBytes += (await walOf(level)) - wal;
    seconds += result.seconds;
    latencies.push(...result.latencies);
    if (result.statuses[operation.status] !== step)
      throw new Error(`${operation.name} at ${level.count}: ${JSON.stringify(result.statuses)}`);
    await operation.restore?.(level);
    if (rate !== undefined) break;
  }
  return {
    serviceUs: serviceUs / count,
    postgresUs: postgresUs / count,
    walBytes: walBytes / count,
    rps: count / seconds,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

async function walOf({ sql }: Level): Promise<number> {
  const { rows } = await sql.query(`select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as bytes`);
  return rows[0].bytes;
}

export const totalOf = (cost: Cost) => cost.serviceUs + cost.postgresUs;

/** Of several rounds; `ratio` is the median of the rounds' ratios to the cost of the first level in the same round. */
export function summary(costs: readonly Cost[], first: readonly Cost[]): Cost & { ratio: number } {
  const of = (field: keyof Cost) => median(costs.map((cost) => cost[field]));
  return {
    serviceUs: of('serviceUs'),
    postgresUs: of('postgresUs'),
    walBytes: of('walBytes'),
    rps: of('rps'),
    p50: of('p50'),
    p99: of('p99'),
    ratio: median(costs.map((cost, round) => totalOf(cost) / totalOf(first[round] ?? cost))),
  };
}

/** Pairs so many stations and checks each in the database. */
export async function pairAndCheck(folder: string, level: Level, count: number): Promise<void> {
  const made = await codes(level, count);
  await send(
    folder,
    level.port,
    made.map((code) => pairing(level, code)),
  );
  const there = await whole(level, made);
  if (there !== count) throw new Error(`of ${count} pairings at ${level.count} ${there} are whole`);
}
