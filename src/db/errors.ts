import { DatabaseError } from 'pg';
import { QueryFailedError } from 'typeorm';
import { Problem } from '../problems';

/** Whether an error is the breach of the constraint or unique index of that name. */
export function violates(error: unknown, constraint: string): boolean {
  return error instanceof QueryFailedError && error.driverError.constraint === constraint;
}

/** Connection, resources, shutdown, system, rollback, lock timeout, read-only after a fail-over, sign-in. */
const UNAVAILABLE_STATES = /^(08|53|57|58|40|55P03|25006|28|3D000)/;

/** What the driver threw: TypeORM wraps it. */
const causeOf = (error: unknown): unknown => (error instanceof QueryFailedError ? error.driverError : error);

/** Returns the SQLSTATE of an error, undefined for one that PostgreSQL did not report: `EPIPE` has five characters too. */
export function stateOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  return cause instanceof DatabaseError ? cause.code : undefined;
}

/** Errors of these types are defects of ours: drivers and sockets report theirs as plain errors. */
const DEFECTS = [TypeError, RangeError, ReferenceError, SyntaxError, URIError, EvalError];

/**
 * Whether an error says that the database is away, and nothing about a statement. One without an SQLSTATE comes from the
 * driver or the socket (refused, lost, too slow), unless it is a defect.
 */
export function isUnavailable(error: unknown): boolean {
  const state = stateOf(error);
  if (state !== undefined) return UNAVAILABLE_STATES.test(state);
  const cause = causeOf(error);
  return !DEFECTS.some((type) => cause instanceof type);
}

/** Returns Problem `unavailable` for an error that says that the database is away, any other error as it is. */
export function unavailableOr(error: unknown): unknown {
  return isUnavailable(error) ? new Problem('unavailable', { cause: error }) : error;
}
