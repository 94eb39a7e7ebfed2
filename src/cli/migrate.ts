import type { Command } from 'commander';
import { settingOf, throwUnreachable } from '../db/connection-errors';
import { roleOf } from '../db/grants';
import { migrate } from '../db/migrate';
import { schema } from '../db/schema';
import { withDatabaseUrl } from './database';
import { answering, type Shell, verb } from './verb';

export function migrateCommand(program: Command, shell: Shell): void {
  verb(
    program,
    'migrate',
    "runs pending migrations and grants the service's role its privileges; idempotent",
    'scsp migrate',
    'MIGRATION_DATABASE_URL=postgres://owner@db.example/scsp scsp migrate',
  ).action(
    answering(shell, async ({ config }) => {
      const { databaseUrl, directDatabaseUrl, migrationDatabaseUrl } = config;
      const serviceRole = migrationDatabaseUrl && databaseUrl && roleOf(databaseUrl);
      const asOwner = { ...config, directDatabaseUrl: migrationDatabaseUrl ?? directDatabaseUrl };
      return withDatabaseUrl(asOwner, async (url) => {
        const migrated = await migrate(url, schema, { sandbox: config.sandbox, serviceRole }).catch(
          throwUnreachable(settingOf(config, url), url),
        );
        return { row: { migrated, granted_to: serviceRole } };
      });
    }),
  );
}
