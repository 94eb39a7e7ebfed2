import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { v7 } from 'uuid';
import { hashCode } from '../../src/codes/code';
import { CODE_KEY, type Database } from '../database';
import { freshUid, station } from '../requests';
import type { Mix, Run, Target } from '../target';
import { PAIR } from './lean-statement';

/** Prepared requests in a table, from which each call of the statement takes the next. */
const REQUESTS = `
create table bench_requests
  (n serial primary key, length smallint, hash bytea, cpo_id uuid, pairing_id uuid, uid text, evses jsonb);
create sequence bench_next`;

/** The statement of the Fastify peer, with the columns of the next request for its parameters. */
const STATEMENT = PAIR.replace(/\$\d/g, (parameter) => {
  const columns = ['length', 'hash', 'cpo_id', 'pairing_id', 'uid', 'uid', `'ocpp2.0.1'`, 'evses'];
  return `(select ${columns[Number(parameter[1]) - 1]} from request)`;
}).replace(
  'with used as',
  `with request as materialized (select * from bench_requests where n = (select nextval('bench_next'))), used as`,
);

/**
 * The least that a pairing costs: pgbench with the lean statement, one pairing a commit, no web server. Every run opens new
 * connections, whose start is in the CPU time.
 */
export async function startPgbench(
  name: string,
  description: string,
  database: Database,
  folder: string,
): Promise<Target> {
  await database.sql.query(REQUESTS);
  writeFileSync(join(folder, 'lean.sql'), `${STATEMENT.replace(/\s*\n\s*/g, ' ').trim()};\n`);
  return {
    name,
    description,
    database,
    share: 1,
    preparePairings: (codes, mix) => prepare(database, folder, codes, mix),
    stop: () => database.sql.end(),
  };
}

async function prepare({ url, sql, cpos }: Database, folder: string, codes: readonly string[], mix: Mix): Promise<Run> {
  const evses = station('').evses.map((evse) => ({ ...evse, evse_id: String(evse.evse_id) }));
  await sql.query(
    `insert into bench_requests (length, hash, cpo_id, pairing_id, uid, evses)
     select $1, hash, cpo_id, pairing_id, uid, $2
     from unnest($3::bytea[], $4::uuid[], $5::uuid[], $6::text[]) r (hash, cpo_id, pairing_id, uid)`,
    [
      codes[0]?.length,
      JSON.stringify(evses),
      codes.map((code) => hashCode(CODE_KEY, code)),
      codes.map((_, i) => cpos[i % mix.cpos]?.id),
      codes.map(() => v7()),
      codes.map(freshUid),
    ],
  );
  const { connections } = mix;
  const load = ['-c', `${connections}`, '-j', '1', '-t', `${codes.length / connections}`];
  const options = ['-n', '-M', 'prepared', '-f', 'lean.sql', '-l', '--log-prefix', 'latencies', ...load];
  return async () => {
    const { stdout } = await promisify(execFile)('pgbench', [...options, url], { cwd: folder }).catch((cause) => {
      throw new Error('pgbench is needed (Debian: postgresql-contrib), or has failed.', { cause });
    });
    // Its connections end with it; their CPU time counts as the postmaster's a moment later.
    await sleep(200);
    const perSecond = Number(/tps = ([\d.]+)/.exec(stdout)?.[1]);
    return { seconds: codes.length / perSecond, latencies: readLatencies(folder) };
  };
}

/** Reads and removes pgbench's log, whose third column is a latency in µs. */
function readLatencies(folder: string): number[] {
  const log = join(folder, readdirSync(folder).find((file) => file.startsWith('latencies'))!);
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  rmSync(log);
  return lines.map((line) => Number(line.split(' ')[2]) / 1000);
}
