import type { Command } from 'commander';
import { reEncryptTokens } from '../cpos/re-encrypt';
import { withContext } from './database';
import { answering, hiddenAlias, type Shell, verb } from './verb';

const DESCRIPTION =
  're-encrypts all stored secrets under the current SECRET_KEY, so that SECRET_KEY_PREVIOUS can be removed';

const action = (shell: Shell) =>
  answering(shell, (given) => withContext(given, async (ctx) => ({ row: { resealed: await reEncryptTokens(ctx) } })));

export function reEncryptCommand(program: Command, shell: Shell): void {
  verb(program, 're-encrypt', DESCRIPTION, 'scsp re-encrypt').action(action(shell));
  formerReEncryptCommand(program, shell);
}

/** Adds `reseal`, the former name of the command, which was also a command of `cpo`. */
export function formerReEncryptCommand(parent: Command, shell: Shell): void {
  hiddenAlias(parent, 'reseal', 'scsp re-encrypt').action(action(shell));
}
