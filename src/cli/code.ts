import type { Command } from 'commander';
import { createIssueCode, type IssuedCode } from '../codes/issue';
import { cpoIdOf } from '../cpos/cpos';
import { withContext } from './database';
import type { Row } from './text';
import { printable } from './values';
import { answering, type Given, noun, type Shell, verb } from './verb';

type Options = { user: string; location: string; cpo?: string };

export function codeCommands(program: Command, shell: Shell): void {
  const code = noun(program, 'code', 'manages the pairing codes that customers enter at their CPO');

  verb(
    code,
    'issue',
    "issues a pairing code and cancels the customer's active code for the same location",
    'scsp code issue --user user-1 --location home',
    'scsp code issue --user user-1 --location home --cpo "Station Works" --json',
  )
    .requiredOption('--user <ID>', "the app's id of the customer", printable('--user'))
    .requiredOption('--location <ID>', "the app's id of the charging location", printable('--location'))
    .option('--cpo <CPO>', 'the only CPO that can use the code, by id or name')
    .action(
      answering(shell, async (given, options: Options) => {
        return withContext(given, async (ctx) => ({
          row: writeCode(
            await createIssueCode(
              ctx,
              await reservedCodes(given),
            )({
              userId: options.user,
              chargingLocationId: options.location,
              cpoId: options.cpo === undefined ? undefined : await cpoIdOf(ctx.db, options.cpo),
            }),
          ),
        }));
      }),
    );
}

/** Returns which values are test codes, in a sandbox deployment. */
async function reservedCodes({ config }: Given) {
  return config.sandbox ? (await import('../sandbox/test-codes.js')).isReserved : undefined;
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
