import type { QueryRunner } from 'typeorm';

/**
 * Builds indexes of tables in use, one after the other, while requests go on. Only for a migration with `transaction = false`: if
 * a build is interrupted, the migration is run again, and an index that is not valid has been left behind. So each build first
 * drops what has its name.
 * @param indexes the definition of each by its name, for example `{ a_b_idx: 'index on a (b) where c is null' }`; it begins with
 *   `index on` or `unique index on`
 */
export async function buildIndexes(runner: QueryRunner, indexes: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, definition] of Object.entries(indexes)) {
    await runner.query(`drop index concurrently if exists ${name}`);
    await runner.query(`create ${definition.replace('index on', `index concurrently ${name} on`)}`);
  }
}
