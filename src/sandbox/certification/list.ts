import type { CheckResult, Evidence } from '../../conformance/check';
import { judgeEach } from '../../conformance/client/judge';
import type { ObservedRequest } from '../../conformance/client/observed';
import type { Times } from '../../conformance/client/times';
import { cpoChecks } from '../../conformance/cpo/checks';
import type { Context } from '../../context';
import { rows } from '../../db/query';
import type { CallerCpo } from '../../tokens/caller';
import { withDoubleEncoding } from './double-encoding';
import { KEPT } from './observer';
import { CERTIFICATION } from './settings';

/** A check of a CPO with its latest verdict. */
export type CertificationItem = Omit<CheckResult, 'evidence'> & {
  /** `cpo`: of its endpoint. `client`: of its caller. */
  readonly direction: 'cpo' | 'client';
  /** Of the direction `client` only what identifies the request. */
  readonly evidence?: Evidence & { readonly request_id?: string; readonly at?: string };
  /** When the run ended that the verdict is from, or when the request came. */
  readonly last_seen_at?: string;
};

const RESULTS = 'select result, seen_at as "seenAt" from certification_results where cpo_id = $1';

const REQUESTS = `select request from observed_requests where cpo_id = $1 order by id desc limit ${KEPT}`;

const NEEDS_OWN_CPO = 'a CPO of your own, POST /v1/sandbox/cpos: the requests of others are not judged';
const NEEDS_RUN = 'a run of the checks: POST /v1/scsp/certification/runs';

/** Returns all checks of a CPO: of its endpoint by its latest runs, of its caller by its latest requests. */
export async function listCertification(
  { db, listener }: Pick<Context, 'db' | 'listener'>,
  { id: cpoId, sandbox: isJudged }: Pick<CallerCpo, 'id' | 'sandbox'>,
  times: Times = CERTIFICATION.times,
): Promise<CertificationItem[]> {
  const results = await rows<{ result: CheckResult; seenAt: Date }>(db, RESULTS, [cpoId]);
  const observed = await rows<{ request: ObservedRequest }>(db, REQUESTS, [cpoId]);
  const requests = observed.map(({ request }) => request).sort((a, b) => a.at - b.at);
  const ofCallers = ofCaller(withDoubleEncoding(requests), listener.now(), times);
  return [...ofEndpoint(results), ...ofCallers.map((item) => (isJudged ? item : { ...item, needs: NEEDS_OWN_CPO }))];
}

/** The checks of this version with what was stored of them, maybe by an earlier one. */
function ofEndpoint(results: readonly { result: CheckResult; seenAt: Date }[]): CertificationItem[] {
  const byId = new Map(results.map((one) => [one.result.id, one]));
  return cpoChecks.map(({ id, title, level, clause, operation, remedy, needs }) => {
    const base = { direction: 'cpo', id, title, level, clause, ...(operation !== undefined && { operation }) } as const;
    const found = byId.get(id);
    if (found === undefined)
      return { ...base, verdict: 'not_run', needs: [NEEDS_RUN, needs].filter(Boolean).join(', with ') };
    const { result, seenAt } = found;
    const { verdict, evidence } = result;
    if (verdict === 'not_run') return { ...base, verdict, ...(result.needs !== undefined && { needs: result.needs }) };
    const isPassed = verdict === 'passed';
    const seen = { ...(evidence && { evidence }), last_seen_at: seenAt.toISOString() };
    return { ...base, verdict, ...seen, ...(!isPassed && { remedy }) };
  });
}

function ofCaller(requests: readonly ObservedRequest[], now: number, times: Times): CertificationItem[] {
  return judgeEach(requests, now, times).map(({ result, request }) => {
    const { evidence: _, ...check } = result;
    const at = request && new Date(request.at).toISOString();
    return { direction: 'client', ...check, ...(request && at && { evidence: { request_id: request.requestId, at } }) };
  });
}
