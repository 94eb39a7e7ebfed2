import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { forgetUser } from '../users/forget';
import { completeErasuresOf } from '../users/pending-erasures';
import { readErasures, replayErasures } from '../users/replay';
import { withContext } from './database';
import type { Row } from './text';
import { userExportCommand } from './user-export';
import { printable } from './values';
import { answering, type Given, noun, type Shell, verb } from './verb';

export function userCommands(program: Command, shell: Shell): void {
  const user = noun(program, 'user', 'manages the data of users');

  const forget = verb(
    user,
    'forget',
    'erases the data of a user, unpairs their stations and notifies the CPOs',
    'scsp user forget user-1',
    'scsp audit list --action user.forget --limit 1000000 --json > erasures.json',
    'scsp user forget --replay erasures.json',
  )
    .argument('[ID]', "the app's id of the user", printable('ID'))
    .addOption(
      new Option(
        '--replay <FILE>',
        'repeats erasures after a restore, from scsp audit list --json or the log of the service',
      ),
    );
  forget.action(
    answering(shell, async (given, id: string | undefined, { replay }: { replay?: string }) => {
      if ((id === undefined) === (replay === undefined))
        forget.error("error: one of '[ID]' and '--replay <FILE>' is required");
      return { row: replay === undefined ? await forgetOne(given, id ?? '') : await replayFile(given, replay) };
    }),
  );
  userExportCommand(user, shell);
}

function forgetOne(given: Given, id: string): Promise<Row> {
  return withContext(given, async (ctx) => {
    const { userHash, codes, pairingIds } = await forgetUser(ctx, id);
    await completeErasuresOf(ctx.db, pairingIds, () => true);
    return { user_hash: userHash, codes, pairings: pairingIds.length };
  });
}

async function replayFile(given: Given, file: string): Promise<Row> {
  const erasures = readErasures(await readFile(file, 'utf8'));
  return withContext(given, async (ctx) => ({ erasures: erasures.size, ...(await replayErasures(ctx, erasures)) }));
}
