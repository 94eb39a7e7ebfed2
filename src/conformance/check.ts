/** `warning`: a recommended check that failed. `not_run`: `needs` says what is missing. */
export type Verdict = 'passed' | 'failed' | 'warning' | 'not_run';
export type Level = 'required' | 'recommended';

/** What a verdict rests on. Secrets are masked and control characters replaced. */
export type Evidence = {
  /** The request as a curl command. */
  readonly request?: string;
  /** The response: status, headers and body, at most 2 kB. */
  readonly response?: string;
  readonly note?: string;
};

/** The description of a check, without a run. */
export type CheckInfo = {
  /** In kebab-case, the area first: `unpair-twice`. */
  readonly id: string;
  readonly title: string;
  readonly level: Level;
  /** What the contract says. */
  readonly clause: string;
  /** The operation in openapi.yaml. */
  readonly operation?: string;
  /** What to do when the check fails. */
  readonly remedy: string;
  /** What the check needs from the party that is checked, in words. */
  readonly needs?: string;
  /** Whether a run of the check changes anything at the party that is checked. */
  readonly changes: boolean;
};

export type CheckResult = {
  readonly id: string;
  readonly title: string;
  readonly level: Level;
  readonly verdict: Verdict;
  readonly clause: string;
  readonly operation?: string;
  readonly evidence?: Evidence;
  readonly remedy?: string;
  readonly needs?: string;
};

export type Report = {
  readonly kit_version: string;
  readonly contract_sha256: string;
  readonly target: string;
  readonly started_at: string;
  readonly finished_at: string;
  readonly counts: Record<Verdict, number>;
  readonly checks: readonly CheckResult[];
};

/** Returns the verdict on a check that did not pass: a recommended one warns. */
export const verdictOnFailure = (level: Level): Verdict => (level === 'required' ? 'failed' : 'warning');

export function countVerdicts(checks: readonly CheckResult[]): Record<Verdict, number> {
  const counts = { passed: 0, failed: 0, warning: 0, not_run: 0 };
  for (const { verdict } of checks) counts[verdict] += 1;
  return counts;
}
