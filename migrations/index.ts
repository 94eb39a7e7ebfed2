import { Pairing1764000000001 } from './001-pairing';

/** Every migration, in order; one that has landed is never edited. */
export const migrations = [Pairing1764000000001];
