import { validate as isUuid } from 'uuid';
import { Problem } from '../problems';

/** Identifies an endpoint of an app. */
export type Owned = { readonly id: string; readonly app: string };

/**
 * Checks that an id can be a parameter of type uuid.
 * @throws Problem `not-found` for a malformed id
 */
export function requireId(id: string): void {
  if (!isUuid(id)) throw new Problem('not-found');
}
