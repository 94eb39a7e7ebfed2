import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../src/embedded-postgres/launcher';

/** A running PostgreSQL; `postmaster` is the id of its main process. */
export type Postgres = { readonly url: string; readonly postmaster: number; readonly folder: string };

/**
 * Runs `work` against an embedded PostgreSQL in a temporary folder, which is deleted afterwards, also on Ctrl-C. The program
 * exits with 1 if it fails.
 */
export async function runWithPostgres(
  settings: Readonly<Record<string, string>>,
  work: (postgres: Postgres) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-bench-'));
  // PostgreSQL runs under another account when this process is root.
  chmodSync(folder, 0o711);
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const dir = join(folder, 'data');
  const { url, stop } = await startEmbedded({ dir, settings: { max_connections: '200', ...settings } });
  const interrupt = () => void stop().then(() => process.exit(130));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const [postmaster] = readFileSync(join(dir, 'postgres/data/postmaster.pid'), 'utf8').split('\n');
  try {
    await work({ url, postmaster: Number(postmaster), folder });
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  await stop();
  process.exit();
}
