import type { Exchange } from './exchange';

/**
 * The conditions for any other check, with their rank. The first that is not met ends the run. Without it, the lower ones are
 * met, and of those that are not lower nothing is known.
 */
const RANKS = {
  'transport-https': 0,
  'transport-address': 1,
  'transport-connect': 2,
  'transport-certificate': 3,
  'transport-base-url': 4,
  'auth-token-accepted': 4,
} as const;

export type GateId = keyof typeof RANKS;

/** A condition that is not met. */
export type Gate = { readonly id: GateId; readonly note: string; readonly exchange?: Exchange };

export const isGate = (id: string): id is GateId => Object.hasOwn(RANKS, id);

/** Returns whether a condition is met, although another one is not. */
export const isMetBefore = (id: GateId, { id: unmet }: Gate): boolean => RANKS[id] < RANKS[unmet];
