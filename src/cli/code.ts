import type { Command } from 'commander';
import { createIssueCode, type IssuedCode } from '../codes/issue';
import { cpoIdOf } from '../cpos/cpos';
import { withContext } from './database';
import type { Row } from './text';
import { printable } from './values';
import { answering, noun, type Shell, verb } from './verb';

type Options = { user: string; location: string; cpo?: string };

export function codeCommands(program: Command, shell: Shell): void {
  const code = noun(program, 'code', 'the codes that customers type at their CPO');

  verb(
    code,
    'issue',
    "issues a pairing code and cancels the customer's old one for that location",
    'scsp code issue --user user-1 --location home',
    'scsp code issue --user user-1 --location home --cpo "Station Works" --json',
  )
    .requiredOption('--user <ID>', "the customer, by the app's id", printable('--user'))
    .requiredOption('--location <ID>', "the charging location, by the app's id", printable('--location'))
    .option('--cpo <CPO>', 'the only CPO that may use the code, by id or name')
    .action(
      answering(shell, async (given, options: Options) => {
        return withContext(given, async (ctx) => ({
          row: writeCode(
            await createIssueCode(ctx)({
              userId: options.user,
              chargingLocationId: options.location,
              cpoId: options.cpo === undefined ? undefined : await cpoIdOf(ctx.db, options.cpo),
            }),
          ),
        }));
      }),
    );
}

function writeCode(code: IssuedCode): Row {
  return {
    id: code.id,
    code: code.code,
    status: code.status,
    user_id: code.userId,
    charging_location_id: code.chargingLocationId,
    cpo_id: code.cpoId ?? undefined,
    created_at: code.createdAt.toISOString(),
    expires_at: code.expiresAt.toISOString(),
  };
}
