import type { CheckResult } from '../check';
import type { ObservedRequest } from './observed';
import type { Times } from './times';

/** What the requests so far say about a rule. `open`: not enough to decide; `needs` is what is missing then. */
export type Finding =
  | { readonly state: 'kept'; readonly request: ObservedRequest; readonly note?: string }
  | { readonly state: 'broken'; readonly request: ObservedRequest; readonly note: string }
  | { readonly state: 'open'; readonly needs?: string };

/** A rule for the caller of a CPO. Pure: the same requests, time and times give the same finding. */
export type ClientCheck = Pick<CheckResult, 'id' | 'title' | 'level' | 'clause'> & {
  readonly operation?: string;
  readonly remedy: string;
  /** What has to be done before the rule can be judged. */
  readonly needs: string;
  find(requests: readonly ObservedRequest[], now: number, times: Times): Finding;
};

export const OPEN: Finding = { state: 'open' };

/** Formats a duration in milliseconds for a note. */
export const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;
