import type { Replica, StoredState } from './stored-state';
import { THRESHOLDS } from './thresholds';

/** Returns the replicas that have been seen recently. */
export const liveReplicas = ({ replicas }: Pick<StoredState, 'replicas'>): Replica[] =>
  replicas.filter(({ notSeenSeconds }) => notSeenSeconds <= THRESHOLDS.replicaSeenSeconds);

/** Returns how many standbys each commit waits for, by the setting `synchronous_standby_names`. */
export function standbysWanted(names: string): number {
  if (names.trim() === '') return 0;
  return Number(/^\s*(?:first\s+|any\s+)?(\d+)\s*\(/i.exec(names)?.[1] ?? 1);
}
