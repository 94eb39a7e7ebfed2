import { cpuOfPostgres, cpuOfProcess } from './cpu';
import { createCodes, type Database, resetState, verifyPairings } from './database';
import type { Operation } from './operations';
import type { HttpTarget, Mix, Run, Target } from './target';

/** Requests per second; latencies in ms; CPU time in µs and write-ahead log in bytes, both per request. */
export type Measured = {
  rps: number;
  p50: number;
  p99: number;
  serviceUs: number;
  postgresUs: number;
  walBytes: number;
};

/** Measures `count` pairings and verifies each in the database. */
export async function measurePairings(target: Target, mix: Mix, count: number): Promise<Measured> {
  await pairStations(target, mix, WARM_UP * mix.connections);
  return pairStations(target, mix, count);
}

/** Measures `count` requests of another operation. */
export async function measureOperation(
  target: HttpTarget,
  operation: Operation,
  { cpos, connections }: Mix,
  count: number,
): Promise<Measured> {
  const { status, request } = await operation(target, cpos);
  const send = (requests: number) => {
    const texts = Array.from({ length: requests }, (_, n) => request(n));
    return measure(target, requests, target.prepareRequests(texts, status, connections));
  };
  await send(WARM_UP * connections);
  const measured = await send(count);
  await resetState(target.database);
  return measured;
}

/**
 * Requests of each connection before a measurement that do not count: pools close connections while other targets have
 * their turn, and new ones plan their statements first.
 */
const WARM_UP = 2;

async function pairStations(target: Target, mix: Mix, count: number): Promise<Measured> {
  const codes = await createCodes(target.database, count);
  const measured = await measure(target, count, await target.preparePairings(codes, mix));
  await verifyPairings(target.database, codes);
  return measured;
}

/** Runs prepared requests after a checkpoint, so that each measurement pays alike for whole pages in the log. */
async function measure({ pid, database }: Target, count: number, run: Run): Promise<Measured> {
  await database.sql.query('checkpoint');
  const counters = async () => ({
    wal: await walPosition(database),
    service: pid === undefined ? 0 : cpuOfProcess(pid),
    postgres: cpuOfPostgres(database.postmaster),
  });
  const before = await counters();
  const { seconds, latencies } = await run();
  const after = await counters();
  return {
    rps: count / seconds,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    serviceUs: (after.service - before.service) / count,
    postgresUs: (after.postgres - before.postgres) / count,
    walBytes: (after.wal - before.wal) / count,
  };
}

async function walPosition({ sql }: Database): Promise<number> {
  const { rows } = await sql.query(`select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as bytes`);
  return rows[0].bytes;
}

export function percentile(values: readonly number[], fraction: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * fraction)] ?? Number.NaN;
}

/** Returns the median of each figure over the rounds. */
export function medians(rounds: readonly Measured[]): Measured {
  const of = (figure: keyof Measured) =>
    percentile(
      rounds.map((round) => round[figure]),
      0.5,
    );
  return {
    rps: of('rps'),
    p50: of('p50'),
    p99: of('p99'),
    serviceUs: of('serviceUs'),
    postgresUs: of('postgresUs'),
    walBytes: of('walBytes'),
  };
}

/** Returns the CPU time of service and PostgreSQL together. */
export const totalUs = ({ serviceUs, postgresUs }: Measured) => serviceUs + postgresUs;
