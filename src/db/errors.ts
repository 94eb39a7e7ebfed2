import { DatabaseError } from 'pg';
import { QueryFailedError } from 'typeorm';
import type { DatabaseErrorReason } from '../metrics/process';
import { Problem } from '../problems';

/** Returns whether an error is a violation of the named constraint or unique index. */
export function violates(error: unknown, constraint: string): boolean {
  return error instanceof QueryFailedError && error.driverError.constraint === constraint;
}

/** Matches connection, resource, shutdown, system, rollback, lock time-out, read-only (failover) and login errors. */
const UNAVAILABLE_STATES = /^(08|53|57|58|40|55P03|25006|28|3D000)/;

/** Unwraps the driver's error from TypeORM's. */
const causeOf = (error: unknown): unknown => (error instanceof QueryFailedError ? error.driverError : error);

/** Returns the SQLSTATE of an error reported by PostgreSQL. The code's length is no proof: Node has `EPIPE`. */
export function sqlStateOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  return cause instanceof DatabaseError ? cause.code : undefined;
}

/** Lists the error types that indicate a defect. Drivers and sockets throw plain errors. */
const DEFECTS = [TypeError, RangeError, ReferenceError, SyntaxError, URIError, EvalError];

/** Returns whether an error is a defect of this program. */
export const isDefect = (error: unknown): boolean => DEFECTS.some((type) => error instanceof type);

/**
 * Returns whether an error means that the database is unavailable. An error without an SQLSTATE comes from the driver
 * or the socket (refused, lost, timed out), unless it is a defect.
 */
export function isUnavailable(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return UNAVAILABLE_STATES.test(state);
  return !isDefect(causeOf(error));
}

/** The message of the error for a commit that did not wait for the synchronous standby. */
export const NOT_REPLICATED = 'committed, but not confirmed by the standby';

/** What the driver says when a statement, or a request for a connection of the pool, takes too long. */
const DRIVER_TIMEOUTS = ['Query read timeout', 'timeout exceeded when trying to connect'];

/** The SQLSTATEs of each reason: cancelled by a time-out; disk full; read-only; no connection, shut down, no login or database. */
const REASONS: readonly (readonly [RegExp, DatabaseErrorReason])[] = [
  [/^(57014|55P03|25P03)/, 'timeout'],
  [/^53100/, 'disk_full'],
  [/^25006/, 'read_only'],
  [/^(08|57P|53300|28|3D000)/, 'unreachable'],
];

/** Classifies an error that means that the database is unavailable. */
export function reasonOf(error: unknown): DatabaseErrorReason {
  const state = sqlStateOf(error);
  if (state !== undefined) return REASONS.find(([states]) => states.test(state))?.[1] ?? 'other';
  const { message } = Object(causeOf(error)) as { message?: unknown };
  if (message === NOT_REPLICATED) return 'other';
  return DRIVER_TIMEOUTS.includes(String(message)) ? 'timeout' : 'unreachable';
}

/** Converts an error to Problem `unavailable` if the database is unavailable; returns any other error unchanged. */
export function toUnavailable(error: unknown): unknown {
  return isUnavailable(error) ? new Problem('unavailable', { cause: error }) : error;
}
