import type { Command } from 'commander';
import { validate as isUuid } from 'uuid';
import { createIssueCode, type IssuedCode } from '../codes/issue';
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
    'scsp code issue --user user-1 --location home --cpo 0197a0c4-6f6e-7b52-8d3c-2f1f0f4a9b11 --json',
  )
    .requiredOption('--user <ID>', "the customer, by the app's id", printable('--user'))
    .requiredOption('--location <ID>', "the charging location, by the app's id", printable('--location'))
    .option('--cpo <ID>', 'the only CPO that may use the code')
    .action(
      answering(shell, async (given, options: Options) => {
        if (options.cpo !== undefined && !isUuid(options.cpo)) throw new RangeError(`no CPO has the id ${options.cpo}`);
        return withContext(given, async (ctx) => ({
          row: writeCode(
            await createIssueCode(ctx)({
              userId: options.user,
              chargingLocationId: options.location,
              cpoId: options.cpo,
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
