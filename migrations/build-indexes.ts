import type { QueryRunner } from 'typeorm';

/**
 * Builds indexes of tables in use, one after the other, while requests go on. Only for a migration with `transaction = false`: if
 * it is interrupted, it is run again. Indexes that were built before are kept; one that is not valid, because its build was
 * interrupted, is built again.
 * @param indexes the definition of each by its name, for example `{ a_b_idx: 'index on a (b) where c is null' }`; it begins with
 *   `index on` or `unique index on`
 */
export async function buildIndexes(runner: QueryRunner, indexes: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, definition] of Object.entries(indexes)) {
    const [index] = await runner.query(
      `select i.indisvalid as "isValid" from pg_index i where i.indexrelid = to_regclass('${name}')`,
    );
    if (index?.isValid) continue;
    await runner.query(`drop index concurrently if exists ${name}`);
    await runner.query(`create ${definition.replace('index on', `index concurrently ${name} on`)}`);
  }
}
