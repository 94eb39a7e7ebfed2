import { setTimeout as sleep } from 'node:timers/promises';
import { QueryFailedError, type QueryRunner } from 'typeorm';

const LOCK_NOT_AVAILABLE = '55P03';
/** Requests queue behind a lock that is waited for; a backup may hold the tables for an hour. */
const LOCK_WAIT = '100ms';
const PAUSE_MS = 400;
const PATIENCE_MS = 600_000;

/** Changes tables that are in use, in one transaction, and never makes others wait for longer than `LOCK_WAIT`. */
export async function withShortLocks(runner: QueryRunner, sql: string): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(PAUSE_MS)) {
    try {
      await runner.query(`set local lock_timeout = '${LOCK_WAIT}'; ${sql}`);
      return;
    } catch (error) {
      const locked = error instanceof QueryFailedError && error.driverError.code === LOCK_NOT_AVAILABLE;
      if (!locked || performance.now() > deadline) throw error;
    }
  }
}
