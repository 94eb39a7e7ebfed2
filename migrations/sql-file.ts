import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Returns the text of a file in `migrations/sql`. Each holds one SQL function and is versioned by its name: a function that
 * changes is a new file and a new migration, and the old one stays until no replica needs it.
 */
export const sqlFile = (name: string) => readFileSync(join(__dirname, 'sql', `${name}.sql`), 'utf8');
