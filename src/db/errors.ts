import { DatabaseError } from 'pg';
import { QueryFailedError } from 'typeorm';
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

/** Converts an error to Problem `unavailable` if the database is unavailable; returns any other error unchanged. */
export function toUnavailable(error: unknown): unknown {
  return isUnavailable(error) ? new Problem('unavailable', { cause: error }) : error;
}
