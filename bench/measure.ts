import { cpuOfPostgres, cpuOfProcess } from './cpu';
import { createCodes, resetState, verifyPairings } from './database';
import type { Operation } from './operations';
import type { HttpTarget, Mix, Run, Target } from './target';

/** Requests per second, latencies in ms, CPU time per request in µs. */
export type Measured = { rps: number; p50: number; p99: number; serviceUs: number; postgresUs: number };

/** CPU time per request in µs until the target has settled. The same as before if nothing goes on after the responses. */
export type Settled = Measured & { settledServiceUs: number; settledPostgresUs: number };

/** Measures `count` pairings and verifies each in the database. */
export async function measurePairings(target: Target, mix: Mix, count: number): Promise<Settled> {
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

/** Does the same without a warm-up. */
export async function pairStations(target: Target, mix: Mix, count: number): Promise<Settled> {
  const codes = await createCodes(target.database, count);
  const measured = await measure(target, count, await target.preparePairings(codes, mix));
  await verifyPairings(target.database, codes);
  return measured;
}

/** Runs prepared requests after a checkpoint, so that each measurement pays alike for whole pages in the log. */
async function measure(target: Target, count: number, run: Run): Promise<Settled> {
  const { pid, database } = target;
  await database.sql.query('checkpoint');
  const cpuTime = () => ({
    service: pid === undefined ? 0 : cpuOfProcess(pid),
    postgres: cpuOfPostgres(database.postmaster),
  });
  const before = cpuTime();
  const { seconds, latencies } = await run();
  const after = cpuTime();
  await target.settle?.();
  const settled = target.settle === undefined ? after : cpuTime();
  return {
    rps: count / seconds,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    serviceUs: (after.service - before.service) / count,
    postgresUs: (after.postgres - before.postgres) / count,
    settledServiceUs: (settled.service - before.service) / count,
    settledPostgresUs: (settled.postgres - before.postgres) / count,
  };
}

export function percentile(values: readonly number[], fraction: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * fraction)] ?? Number.NaN;
}

/** Returns the median of a figure over the rounds. */
export const medianOf = <T>(rounds: readonly T[], figure: (round: T, index: number) => number) =>
  percentile(rounds.map(figure), 0.5);

/** Returns the median of each figure over the rounds. */
export const medians = (rounds: readonly Measured[]): Measured => ({
  rps: medianOf(rounds, ({ rps }) => rps),
  p50: medianOf(rounds, ({ p50 }) => p50),
  p99: medianOf(rounds, ({ p99 }) => p99),
  serviceUs: medianOf(rounds, ({ serviceUs }) => serviceUs),
  postgresUs: medianOf(rounds, ({ postgresUs }) => postgresUs),
});

/** Returns the CPU time of service and PostgreSQL together. */
export const totalUs = ({ serviceUs, postgresUs }: Measured) => serviceUs + postgresUs;

/** Returns the figures of one of the equal parts of a request; the latency remains that of the request. */
export const perPart = ({ rps, serviceUs, postgresUs, ...latency }: Measured, parts: number): Measured => ({
  ...latency,
  rps: rps * parts,
  serviceUs: serviceUs / parts,
  postgresUs: postgresUs / parts,
});
