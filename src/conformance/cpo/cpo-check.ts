import type { CheckInfo } from '../check';
import type { Kit } from './kit';

/** A check of a CPO's endpoint. `run` throws CheckFailed or CheckNotRun, or the check has passed. */
export type CpoCheck = CheckInfo & { run(kit: Kit): Promise<void> };

/** The codes that most checks need. */
export const NEEDS_GOOD = '`good`: a code for each protocol, and one more';
/** What they need when the codes were refused. */
export const NEEDS_FRESH = 'fresh codes in `good`: your backend does not accept those that it has (any more)';
