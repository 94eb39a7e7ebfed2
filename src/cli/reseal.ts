import type { Command } from 'commander';
import { resealTokens } from '../cpos/reseal';
import { withContext } from './database';
import { answering, type Shell, verb } from './verb';

/** Adds the command to the program, and to `cpo`, where it was before. */
export function resealCommand(parent: Command, shell: Shell, description: string, example: string): void {
  verb(parent, 'reseal', description, example).action(
    answering(shell, (given) => withContext(given, async (ctx) => ({ row: { resealed: await resealTokens(ctx) } }))),
  );
}
