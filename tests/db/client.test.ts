import { Pool } from 'pg';
import { ServiceClient } from '../../src/db/client';
import { endLater } from '../harness/clean-up';
import { createTestDatabase } from '../harness/harness';

test('a connection that is terminated while it is handed over ends itself, not the process', async () => {
  const database = await createTestDatabase();
  endLater(database.drop);
  const pool = new Pool({ connectionString: database.url, Client: ServiceClient });
  // `pool.end()` does not wait for its connections to close, so dropping the database may terminate one.
  endLater(() => pool.on('error', () => undefined).end());
  // Until its user listens, nobody does.
  const connection = await pool.connect();
  const ended = new Promise((resolve) => connection.once('end', resolve));
  const { rows } = await connection.query<{ pid: number }>('select pg_backend_pid() as pid');
  await pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
  await ended;
  await expect(connection.query('select 1')).rejects.toThrow();
  connection.release(true);
});
