import type { Context } from '../context';
import type { PeriodicJob } from '../delivery/periodic';
import { registerStoredState } from './gauges';
import { type HeartbeatTimes, startHeartbeat } from './heartbeat';
import type { CircuitSources } from './replica-state';
import type { ReadingTimes } from './shared-reading';

export type StatusTimes = { readonly heartbeat?: Partial<HeartbeatTimes>; readonly reading?: Partial<ReadingTimes> };

/** Makes this process visible to `scsp status`, and the stored state visible to Prometheus. */
export function startStatus(
  ctx: Context,
  version: string,
  sources: CircuitSources,
  { heartbeat, reading }: StatusTimes = {},
): Pick<PeriodicJob, 'stop'> {
  registerStoredState(ctx, reading);
  return startHeartbeat(ctx, version, sources, heartbeat);
}
