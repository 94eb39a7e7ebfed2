import type { CheckResult } from '../check';
import type { ClientCheck, Finding } from './client-check';
import type { ObservedRequest } from './observed';
import { outcomeChecks } from './outcome-checks';
import { repeatChecks } from './repeat-checks';
import { requestChecks } from './request-checks';
import { TIMES, type Times } from './times';

/** The result of a check, with the time of the request that decided it. */
export type ClientCheckResult = CheckResult & { last_seen_at?: string };

/** All rules for a CPO's caller. `docs/conformance-client.md` lists them. */
export const clientChecks: readonly ClientCheck[] = [...requestChecks, ...repeatChecks, ...outcomeChecks];

/** The only rule for requests whose token is missing or another one: they are answered 401, and show nothing else. */
const TOKEN_CHECK = 'client-token-in-header-only';

/** Returns whether a request had the token. One that followed a redirect need not have it. */
export const isAccepted = ({ token, operation }: ObservedRequest): boolean =>
  token === 'header' || operation === 'redirected';

/**
 * Judges a CPO's caller by its requests. Has no side effects.
 * @param requests the earliest first
 * @param now milliseconds since 1970: some rules are kept only when nothing has come for a while
 */
export function judge(requests: readonly ObservedRequest[], now: number, times: Times = TIMES): ClientCheckResult[] {
  return judgeEach(requests, now, times).map(({ result }) => result);
}

/** The result of a check with the request that decided it, if it has a verdict. */
export type Judged = { readonly result: ClientCheckResult; readonly request?: ObservedRequest };

/** Judges as `judge` does. */
export function judgeEach(requests: readonly ObservedRequest[], now: number, times: Times): Judged[] {
  const accepted = requests.filter(isAccepted);
  return clientChecks.map((check) => {
    const finding = check.find(check.id === TOKEN_CHECK ? requests : accepted, now, times);
    const result = resultOf(check, finding);
    return finding.state === 'open' ? { result } : { result, request: finding.request };
  });
}

function resultOf(check: ClientCheck, finding: Finding): ClientCheckResult {
  const { id, title, level, clause, operation, remedy, needs } = check;
  const base = { id, title, level, clause, ...(operation !== undefined && { operation }) };
  if (finding.state === 'open') return { ...base, verdict: 'not_run', needs: finding.needs ?? needs };
  const { request, note } = finding;
  const seen = { last_seen_at: new Date(request.at).toISOString(), evidence: evidenceOf(request, note) };
  if (finding.state === 'kept') return { ...base, verdict: 'passed', ...seen };
  return { ...base, verdict: level === 'required' ? 'failed' : 'warning', ...seen, remedy };
}

function evidenceOf(request: ObservedRequest, note: string | undefined) {
  const { requestId, at, answer } = request;
  const where = `request ${requestId} at ${new Date(at).toISOString()}`;
  return {
    request: nameOf(request),
    ...(answer?.status !== undefined && { response: String(answer.status) }),
    note: note === undefined ? where : `${where}: ${note}`,
  };
}

/** Names a request: `pair KIT-2 000404 (ocpp2.0.1)`. */
export function nameOf({ operation, uid, code, protocol }: ObservedRequest): string {
  return [operation, uid, code, protocol && `(${protocol})`].filter((part) => part !== undefined).join(' ');
}
