import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chownSync, closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { secondsUntil } from './fault';
import { account, deployed, program, spawnTied } from './programs';

const run = promisify(execFile);
/** Of every role. */
export const PASSWORD = 'only-for-this-test';
const ADMIN = 'postgres';

export type Server = ReturnType<typeof postgresServer>;

/** One of the two PostgreSQL servers. */
export function postgresServer(home: string, name: string, port: number) {
  const data = join(home, name);
  const as = account();
  const tool = (tool: string, args: string[], env = {}) =>
    run(program(tool), args, { ...as, cwd: home, env: { ...process.env, LC_ALL: 'C.UTF-8', ...env } });
  let postmaster: ChildProcess | undefined;
  const own = (file: string) => {
    if (as.uid !== undefined && as.gid !== undefined) chownSync(file, as.uid, as.gid);
  };
  const url = (user: string, database: string) => `postgres://${user}:${PASSWORD}@127.0.0.1:${port}/${database}`;
  const query = async (sql: string, database = 'postgres'): Promise<any[]> => {
    const client = new Client({ connectionString: url(ADMIN, database), connectionTimeoutMillis: 2_000 });
    // Whoever is asked may be about to die.
    client.on('error', () => undefined);
    await client.connect();
    return (await client.query(sql).finally(() => client.end().catch(() => undefined))).rows;
  };
  return {
    name,
    port,
    url,
    query,
    async init() {
      const password = join(home, 'password');
      writeFileSync(password, PASSWORD);
      own(password);
      const options = [`--username=${ADMIN}`, `--pwfile=${password}`, '--auth=scram-sha-256', '--encoding=UTF8'];
      await tool('initdb', [`--pgdata=${data}`, ...options, '--no-sync']);
      const hba = join(data, 'pg_hba.conf');
      writeFileSync(hba, deployed('postgresql/pg_hba.conf', []) + readFileSync(hba, 'utf8'));
      appendFileSync(join(data, 'postgresql.conf'), deployed('postgresql/replication.conf', []));
    },
    /** Becomes a copy of the primary that follows it, and is waited for from then on. */
    async follow(primary: { port: number; query(sql: string): Promise<unknown[]> }) {
      rmSync(data, { recursive: true, force: true });
      const from = `host=127.0.0.1 port=${primary.port} user=scsp_replicator`;
      const how = ['--write-recovery-conf', '--checkpoint=fast', '--no-sync'];
      await tool('pg_basebackup', [`--dbname=${from}`, `--pgdata=${data}`, ...how], { PGPASSWORD: PASSWORD });
      await this.start();
      for (const one of [primary, this]) await one.query('alter system reset synchronous_standby_names');
      await primary.query('select pg_reload_conf()');
      await secondsUntil(
        async () => (await primary.query(`select from pg_stat_replication where sync_state = 'sync'`)).length === 1,
      );
    },
    async waitForNobody() {
      await query(`alter system set synchronous_standby_names = ''`);
      await query('select pg_reload_conf()');
    },
    async start() {
      const settings = [
        `port=${port}`,
        'listen_addresses=127.0.0.1',
        'unix_socket_directories=',
        'shared_buffers=32MB',
      ];
      const log = openSync(join(home, `${name}.log`), 'a');
      postmaster = spawnTied(program('postgres'), ['-D', data, ...settings.flatMap((setting) => ['-c', setting])], {
        ...as,
        cwd: home,
        stdio: ['ignore', log, log],
      });
      closeSync(log);
      await secondsUntil(async () => (await query('select 1')).length === 1);
    },
    async promote() {
      // Alone as it will be, it must not wait for a standby.
      await this.waitForNobody();
      await query('select pg_promote(wait => true)');
    },
    async end(signal: NodeJS.Signals) {
      if (postmaster?.exitCode !== null || postmaster.signalCode !== null) return;
      const exited = once(postmaster, 'exit');
      postmaster.kill(signal);
      await exited;
    },
  };
}
