import { QueryFailedError } from 'typeorm';
import { ConfigError } from '../config';
import { unreachableBecause } from '../db/connection-errors';
import { EmbeddedError } from '../embedded-postgres/launcher';
import { stackOf } from '../log';
import { OperatorError, Problem } from '../problems';

/** Why a command was refused, in one line; of a fault of ours, the stack. */
export function reasonOf(error: unknown): string {
  return isExpected(error) ? messageOf(error).replace(/\s*\n\s*/g, '; ') : stackOf(error);
}

/** Verbs refuse with Problem or OperatorError; errors of the operating system bear a `syscall`. */
function isExpected(error: unknown): error is Error {
  const kinds = [Problem, OperatorError, ConfigError, EmbeddedError, QueryFailedError];
  return kinds.some((kind) => error instanceof kind) || (error instanceof Error && 'syscall' in error);
}

function messageOf(error: Error): string {
  if (error instanceof ConfigError) return `the settings have faults: ${error.message}`;
  if (error instanceof QueryFailedError) return `the database refused: ${error.message}`;
  if (!(error instanceof Problem)) return error.message;
  if (error.errors) return error.errors.map(({ pointer, message }) => `${pointer.slice(1)} ${message}`).join('\n');
  return error.type === 'unavailable' && error.cause !== undefined
    ? `the database does not answer: ${unreachableBecause(error.cause)}`
    : error.message;
}
