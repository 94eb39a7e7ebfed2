import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { type Database, openDatabase } from '../../src/db/pool';
import { prepared, preparedRows, rows, transaction } from '../../src/db/query';
import { type Embedded, startEmbedded } from '../../src/embedded-postgres/launcher';
import { until } from '../harness/until';

// What the service does with its answers, beside a standby that comes and goes, is in faults/cluster.faults.ts.

const dir = join(realpathSync(mkdtempSync(join(tmpdir(), 'unreplicated-'))), '.data');
let postgres: Embedded;
let operator: Client;
let db: Database;
beforeAll(async () => {
  const settings = { fsync: 'off', synchronous_standby_names: 'gone' };
  postgres = await startEmbedded({ dir, initdbOptions: ['--no-sync'], settings });
  operator = new Client(postgres.url);
  await operator.connect();
  await operator.query('set synchronous_commit = local');
  await operator.query('create table written (what text)');
  db = await openDatabase(postgres.url, { entities: [], migrations: [] }, 1);
});
afterAll(async () => {
  await db.destroy();
  await operator.end();
  await postgres.stop();
  rmSync(join(dir, '..'), { recursive: true, force: true, maxRetries: 5 });
});

const CANCEL = `select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'`;
const INSERT = 'insert into written values ($1)';

test.each<[string, (what: string) => Promise<unknown>]>([
  ['a statement', (what) => rows(db, INSERT, [what])],
  ['a prepared statement', (what) => preparedRows(db, prepared('insert', INSERT), [what])],
  ['a transaction', (what) => transaction(db, (tx) => tx.query(INSERT, [what]))],
])(
  '%s whose commit no longer waits for the standby has not succeeded; the next is not taken for it',
  async (what, write) => {
    const writing = expect(write(what)).rejects.toMatchObject({ type: 'unavailable' });
    const next = preparedRows(db, prepared('read', 'select 1 as one'), []);
    await until(
      ({ rowCount }) => rowCount === 1,
      () => operator.query(CANCEL),
    );
    await writing;
    expect(await next).toEqual([{ one: 1 }]);
    expect((await operator.query('select what from written where what = $1', [what])).rows).toEqual([{ what }]);
  },
);
