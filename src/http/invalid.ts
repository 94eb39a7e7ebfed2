import { truncateInstant } from '../contract/instant';
import { Problem } from '../problems';

/** Returns the problem of a request with one validation error that its schema cannot express. */
export const invalid = (pointer: string, message: string) =>
  new Problem('invalid-request', { errors: [{ pointer, message }] });

/**
 * Reads a member of the format `date-time`, which allows more than instants.
 * @returns the instant, truncated to milliseconds
 * @throws Problem `invalid-request`
 */
export function readInstant(text: string, pointer: string): string {
  const instant = truncateInstant(text);
  if (instant === undefined) throw invalid(pointer, 'must be a time as in RFC 3339');
  return instant;
}
