import { ATTEMPT_RULES } from './attempt-rules';
import { EVENT_RULES } from './event-rules';
import { PAIRING_RULES } from './pairing-rules';
import type { RetentionRule } from './rule';

/** Everything that retention removes. A test asks for a rule, or a reason for none, for each table. */
export const RULES: readonly RetentionRule[] = [...ATTEMPT_RULES, ...EVENT_RULES, ...PAIRING_RULES];
