import type { Command } from 'commander';
import { OperatorError } from '../problems';
import { knownAt, SECTIONS } from '../users/export';
import { withContext } from './database';
import { printable } from './values';
import { answering, type Output, type Shell, verb } from './verb';

/** Adds `scsp user export ID`. */
export function userExportCommand(user: Command, shell: Shell): void {
  verb(
    user,
    'export',
    'prints all that is stored of a user as JSON (GDPR, articles 15 and 20)',
    'scsp user export user-1 > user-1.json',
  )
    .argument('<ID>', "the app's id of the user", printable('ID'))
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => {
          const at = await knownAt(ctx, id);
          if (at === undefined) throw new OperatorError(`nothing is stored of the user ${id}`);
          const print = (text: string) => write(given.stdout, text);
          await print(`{"user_id":${JSON.stringify(id)},"exported_at":${JSON.stringify(at)}`);
          for (const [name, { read }] of Object.entries(SECTIONS)) {
            await print(`,\n${JSON.stringify(name)}:[`);
            let separator = '\n';
            for await (const row of read(ctx, id)) {
              await print(separator + JSON.stringify(row));
              separator = ',\n';
            }
            await print(']');
          }
          await print('}\n');
          return undefined;
        }),
      ),
    );
}

/** Resolves when the text was taken, so that a slow reader does not make this process hold everything. */
function write(stdout: Output, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}
