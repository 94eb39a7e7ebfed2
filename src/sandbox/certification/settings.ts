import { TIMES, type Times } from '../../conformance/client/times';
import { LIMITS, type Limits } from '../../conformance/cpo/caller';

/** What tests replace of the certification. */
export type CertificationSettings = {
  /** The maximum number of requests a second that a run sends. */
  readonly rate: number;
  /** A run is interrupted when its lease was not renewed for this long. */
  readonly leaseMs: number;
  readonly renewMs: number;
  /** The time-outs and bounds of a run. */
  readonly limits: Limits;
  /** By which a CPO's caller is judged. */
  readonly times: Times;
};

export const CERTIFICATION: CertificationSettings = {
  rate: 5,
  leaseMs: 15_000,
  renewMs: 2_000,
  limits: LIMITS,
  times: TIMES,
};
