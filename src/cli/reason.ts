import { QueryFailedError } from 'typeorm';
import { ConfigError } from '../config';
import { EmbeddedError } from '../db/embedded';
import { stackOf } from '../log';
import { Problem } from '../problems';

/** Why a command was refused, in one line; of a fault of ours, the stack. */
export function reasonOf(error: unknown): string {
  return isExpected(error) ? messageOf(error).replace(/\s*\n\s*/g, '; ') : stackOf(error);
}

/** Verbs refuse with Problem or RangeError; errors of the operating system bear a `syscall`. */
function isExpected(error: unknown): error is Error {
  const kinds = [Problem, RangeError, ConfigError, EmbeddedError, QueryFailedError];
  return kinds.some((kind) => error instanceof kind) || (error instanceof Error && 'syscall' in error);
}

function messageOf(error: Error): string {
  if (error instanceof ConfigError) return `the settings have faults: ${error.message}`;
  if (error instanceof QueryFailedError) return `the database refused: ${error.message}`;
  if (!(error instanceof Problem)) return error.message;
  if (error.errors) return error.errors.map(({ pointer, message }) => `${pointer.slice(1)} ${message}`).join('\n');
  return error.type === 'unavailable' && error.cause !== undefined ? awayBecause(error.cause) : error.message;
}

function awayBecause(error: unknown): string {
  // Of a name with several addresses, each failure is in `errors` and the message is empty.
  const failures = error instanceof AggregateError ? error.errors : [error];
  const messages = failures.map((failure) => (failure instanceof Error ? failure.message : String(failure)));
  return `the database does not answer: ${messages.join(', ')}`;
}

/**
 * For what fails while the database is opened.
 * @throws RangeError that says why it is away; an error of a statement or a refusal as it is
 */
export function refuseAsAway(cause: unknown): never {
  if (cause instanceof QueryFailedError || cause instanceof RangeError) throw cause;
  throw new RangeError(awayBecause(cause), { cause });
}
