import { readdirSync, readFileSync } from 'node:fs';
import { Client } from 'pg';
import { projectFile } from '../../src/contract/document';
import { endLater } from '../harness/clean-up';
import { createTestDatabase } from '../harness/harness';

const FOLDER = 'docs/runbooks';
const NOBODY = '00000000-0000-0000-0000-000000000000';

/** The statements that the runbooks give to psql, as the shell passes them on. */
const queries = readdirSync(projectFile(FOLDER)).flatMap((file) =>
  [...readFileSync(projectFile(`${FOLDER}/${file}`), 'utf8').matchAll(/^psql "[^"]+" --command (["'])(.*?)\1/gms)].map(
    ([, , sql = '']) => [file, sql.replaceAll("'ID'", `'${NOBODY}'`)] as const,
  ),
);

let sql: Client;
beforeAll(async () => {
  sql = new Client((await createTestDatabase()).url);
  await sql.connect();
  endLater(() => sql.end());
});

test('every psql command of the runbooks is one of these', () => {
  const text = readdirSync(projectFile(FOLDER)).map((file) => readFileSync(projectFile(`${FOLDER}/${file}`), 'utf8'));
  expect(queries.length).toBeGreaterThan(10);
  expect(text.join('').match(/^psql /gm)).toHaveLength(queries.length);
});

test.each(queries)('PostgreSQL runs the query of %s: %s', async (_file, query) => {
  await expect(sql.query(query)).resolves.toBeDefined();
});
