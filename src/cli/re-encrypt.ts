import type { Command } from 'commander';
import { reEncryptTokens, undecryptable } from '../cpos/re-encrypt';
import { OperatorError } from '../problems';
import { reEncryptSecrets, undecryptableEndpoints } from '../webhooks/re-encrypt';
import { type CommandContext, withContext } from './database';
import { answering, hiddenAlias, type Shell, verb } from './verb';

const DESCRIPTION =
  're-encrypts all stored secrets under the current SECRET_KEY, so that SECRET_KEY_PREVIOUS can be removed';

const action = (shell: Shell) =>
  answering(shell, (given) => withContext(given, async (ctx) => ({ row: { resealed: await reEncrypt(ctx) } })));

/**
 * Re-encrypts all stored secrets and returns their number.
 * @throws OperatorError, after the others are done, that names the secrets that cannot be decrypted with a known key
 */
async function reEncrypt(ctx: CommandContext): Promise<number> {
  const count = (await reEncryptTokens(ctx)) + (await reEncryptSecrets(ctx));
  const cpos = (await undecryptable(ctx)).map(({ name }) => name);
  const endpoints = (await undecryptableEndpoints(ctx)).map(({ id, appName }) => `${id} (${appName})`);
  const failed = [
    ...(cpos.length > 0 ? [`the tokens of these CPOs ${lost(cpos)}`] : []),
    ...(endpoints.length > 0 ? [`the secrets of these webhook endpoints ${lost(endpoints)}`] : []),
  ];
  if (failed.length === 0) return count;
  throw new OperatorError(`re-encrypted: ${count}; ${failed.join('; ')}`);
}

const lost = (names: readonly string[]) =>
  `were encrypted with another SECRET_KEY, set it as SECRET_KEY_PREVIOUS: ${names.join(', ')}`;

export function reEncryptCommand(program: Command, shell: Shell): void {
  verb(program, 're-encrypt', DESCRIPTION, 'scsp re-encrypt').action(action(shell));
  formerReEncryptCommand(program, shell);
}

/** Adds `reseal`, the former name of the command, which was also a command of `cpo`. */
export function formerReEncryptCommand(parent: Command, shell: Shell): void {
  hiddenAlias(parent, 'reseal', 'scsp re-encrypt').action(action(shell));
}
