import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { type Contender, freshUid, type Mix, pairRequest, tokenOf } from './contenders';
import { percentile, send, wire } from './processes';

/** µs of CPU per request, latencies in ms. */
export type Measured = { rps: number; p50: number; p99: number; serviceUs: number; postgresUs: number };

/** Has a round of pairings done, and looks in the database whether each is there whole. */
export async function measure(contender: Contender, postmaster: number, mix: Mix): Promise<Measured> {
  const run = await contender.prepare(mix);
  const before = await contender.world.whole();
  await contender.world.sql.query('checkpoint');
  const measured = await costOf(contender, postmaster, mix.perRound, run);
  const paired = (await contender.world.whole()) - before;
  if (paired !== mix.perRound) throw new Error(`${contender.name}: of ${mix.perRound} pairings ${paired} are whole`);
  return measured;
}

type Service = Contender & { port: number };

/** What each refusal costs, after as many of its kind to warm up. */
export async function refusals(
  folder: string,
  service: Service,
  postmaster: number,
  mix: Mix,
): Promise<Record<string, Measured>> {
  const { world } = service;
  const token = (i: number) => tokenOf(world, mix.cpos, i);
  const [taken, [used = '', open = '']] = [freshUid(), await world.codes(2)];
  await send(folder, service.port, [pairRequest(token(0), used, taken)]);
  const kinds: Record<string, (i: number) => string> = {
    '400': (i) =>
      wire('POST', '/v1/scsp/ocpp2.0.1/pair', token(i), { code: 1, charging_station: { uid: 'x', evses: [] } }),
    '401': (i) => pairRequest(`scsp_cpo_${String(i).padStart(43, 'x')}`, '1'),
    '404': (i) => pairRequest(token(i), '999999'),
    '409': (i) => pairRequest(token(i), open, taken),
  };
  const costs: Record<string, Measured> = {};
  for (const [status, make] of Object.entries(kinds))
    costs[status] = await answeredWith(folder, service, postmaster, mix, status, make);
  return costs;
}

/** Codes stay active for ten minutes: fewer are issued than stations are paired. */
const ISSUED_SHARE = 8;

/** What a code costs, for users who have none. */
export async function issuing(folder: string, service: Service, postmaster: number, mix: Mix): Promise<Measured> {
  const make = () =>
    wire('POST', '/v1/app/pairing-codes', service.world.appToken, {
      user_id: randomUUID(),
      charging_location_id: 'home',
    });
  return answeredWith(folder, service, postmaster, { ...mix, perRound: mix.perRound / ISSUED_SHARE }, '201', make);
}

async function answeredWith(
  folder: string,
  service: Service,
  postmaster: number,
  { perRound, connections }: Mix,
  status: string,
  make: (i: number) => string,
): Promise<Measured> {
  const round = async () => {
    const result = await send(
      folder,
      service.port,
      Array.from({ length: perRound }, (_, i) => make(i)),
      { connections },
    );
    if (result.statuses[status] === perRound) return result;
    throw new Error(`expected ${status}: ${JSON.stringify(result.statuses)}`);
  };
  await round();
  return costOf(service, postmaster, perRound, round);
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
