import type { Command } from 'commander';
import { migrate } from '../db/database';
import { model } from '../model';
import { withDatabaseUrl } from './database';
import { refuseAsAway } from './reason';
import { answering, type Shell, verb } from './verb';

export function migrateCommand(program: Command, shell: Shell): void {
  verb(program, 'migrate', 'brings the database to this version; again is the same', 'scsp migrate').action(
    answering(shell, ({ config }) =>
      withDatabaseUrl(config, async (url) => ({ row: { migrated: await migrate(url, model).catch(refuseAsAway) } })),
    ),
  );
}
