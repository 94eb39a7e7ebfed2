import { QueryFailedError } from 'typeorm';
import { ConfigError } from '../config';
import { connectionFailureReason } from '../db/connection-errors';
import { EmbeddedError } from '../embedded-postgres/launcher';
import { stackOf } from '../log';
import { OperatorError, Problem } from '../problems';

/** Returns the reason why a command failed in one line, or the stack if it is a defect. */
export function reasonOf(error: unknown): string {
  return isExpected(error) ? messageOf(error).replace(/\s*\n\s*/g, '; ') : stackOf(error);
}

/** Returns whether an error is not a defect. Errors of the operating system have a `syscall`. */
function isExpected(error: unknown): error is Error {
  const kinds = [Problem, OperatorError, ConfigError, EmbeddedError, QueryFailedError];
  return kinds.some((kind) => error instanceof kind) || (error instanceof Error && 'syscall' in error);
}

function messageOf(error: Error): string {
  if (error instanceof ConfigError) return `invalid settings: ${error.message}`;
  if (error instanceof QueryFailedError) return `the database rejected the statement: ${error.message}`;
  if (!(error instanceof Problem)) return error.message;
  if (error.errors) return error.errors.map(({ pointer, message }) => `${pointer.slice(1)} ${message}`).join('\n');
  return error.type === 'unavailable' && error.cause !== undefined
    ? `the database does not answer: ${connectionFailureReason(error.cause)}`
    : error.message;
}
