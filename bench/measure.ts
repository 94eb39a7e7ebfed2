import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Contender, freshUid, pairRequest } from './contenders';
import { percentile, send, wire } from './processes';

/** µs of CPU per request, latencies in ms. */
export type Measured = { rps: number; p50: number; p99: number; serviceUs: number; postgresUs: number };

/** Has so many pairings done, and looks in the database whether each is there whole. */
export async function measure(
  contender: Contender,
  postmaster: number,
  count: number,
  rate?: number,
): Promise<Measured> {
  const run = await contender.prepare(count, rate);
  const before = await contender.world.whole();
  await contender.world.sql.query('checkpoint');
  const measured = await costOf(contender, postmaster, count, run);
  const paired = (await contender.world.whole()) - before;
  if (paired !== count) throw new Error(`${contender.name}: of ${count} pairings ${paired} are whole`);
  return measured;
}

/**
 * What each refusal costs, after as many of its kind as the pairings were warmed up with.
 * @param count how many of each kind are measured
 */
export async function refusals(
  folder: string,
  service: Contender & { port: number },
  postmaster: number,
  count: number,
): Promise<Record<string, Measured>> {
  const { world, port } = service;
  const [taken, [used = '', open = '']] = [freshUid(), await world.codes(2)];
  await send(folder, port, [pairRequest(world, used, taken)]);
  const kinds: Record<string, (i: number) => string> = {
    '401': (i) => pairRequest(world, '1', freshUid(), `scsp_cpo_${String(i).padStart(43, 'x')}`),
    '400': () =>
      wire('POST', '/v1/scsp/ocpp2.0.1/pair', world.token, { code: 1, charging_station: { uid: 'x', evses: [] } }),
    '404': () => pairRequest(world, '999999'),
    '409': () => pairRequest(world, open, taken),
  };
  const costs: Record<string, Measured> = {};
  for (const [status, make] of Object.entries(kinds)) {
    const requests = Array.from({ length: Math.max(count, service.warmUp) }, (_, i) => make(i));
    const over = new AbortController();
    const forgetting = forgetTries(world.sql, over.signal);
    await send(folder, port, requests.slice(0, service.warmUp));
    costs[status] = await costOf(service, postmaster, count, async () => {
      const result = await send(folder, port, requests.slice(0, count));
      if (result.statuses[status] === count) return result;
      throw new Error(`expected ${status}: ${JSON.stringify(result.statuses)}`);
    });
    over.abort();
    await forgetting;
  }
  return costs;
}

/** Incorrect codes are forgotten again and again: no CPO has thousands of them in ten minutes. */
async function forgetTries(sql: Contender['world']['sql'], over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await sql.query(`update cpo_tries set wrong_at = '{}', wrong_uid = '{}' where wrong_at <> '{}'`);
    await sleep(25);
  }
}

async function costOf(
  { pid }: Contender,
  postmaster: number,
  count: number,
  run: () => Promise<{ seconds: number; latencies: number[] }>,
): Promise<Measured> {
  const service = pid === undefined ? 0 : ticksOf(pid);
  const postgres = ticksOfCluster(postmaster);
  const { seconds, latencies } = await run();
  return {
    rps: count / seconds,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    serviceUs: pid === undefined ? 0 : (ticksOf(pid) - service) / count,
    postgresUs: (ticksOfCluster(postmaster) - postgres) / count,
  };
}

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time that a process has used, µs; if asked for, with that of its children that have ended. */
function ticksOf(pid: number, withChildren = false): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const ticks = [11, 12, ...(withChildren ? [13, 14] : [])].reduce((sum, field) => sum + Number(fields[field]), 0);
  return (ticks * 1e6) / TICKS_PER_SECOND;
}

/** pgbench's connections end with it: what their processes have used is with the postmaster then. */
function ticksOfCluster(postmaster: number): number {
  let sum = ticksOf(postmaster, true);
  for (const pid of readdirSync('/proc').map(Number).filter(Boolean)) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      if (Number(fields[1]) === postmaster) sum += ticksOf(pid);
    } catch {
      // Gone in the meantime.
    }
  }
  return sum;
}
