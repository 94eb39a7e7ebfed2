import { type Contract, type OpenApiDocument, readContract } from '../../contract/document';
import type { TraceContext } from '../../contract/trace-context';
import { jsonValidator } from '../../contract/validate-json';
import type { PayloadProtocol } from '../../protocols';
import { buildReport } from '../build-report';
import { type CheckResult, type Report, verdictOnFailure } from '../check';
import { Caller, LIMITS, type Limits, type Network, RunEnded } from './caller';
import { cpoChecks } from './checks';
import { allCodes, type CpoCodes } from './codes-file';
import { type CpoCheck, NEEDS_FRESH } from './cpo-check';
import { evidenceOf } from './evidence';
import { CheckFailed, CheckNotRun, CodeRefused } from './exchange';
import { isGate } from './gates';
import type { Kit } from './kit';
import { reportsRefusal, unpairAll } from './pairings';
import { checkGates } from './preflight';
import { createMask } from './secrets';
import { parseTarget } from './target';

export type CpoRun = {
  /** The base URL of the CPO's endpoint. */
  readonly target: string;
  /** The token that the CPO issued to the service. */
  readonly token: string;
  readonly codes: CpoCodes;
  readonly protocols: readonly [PayloadProtocol, ...PayloadProtocol[]];
  /** Whether checks that change something are left out (`not_run`). */
  readonly readOnly?: boolean;
  /** The ids of the checks to run; all by default. */
  readonly only?: readonly string[] | undefined;
  /** Whether the target may be on loopback, also over http. */
  readonly loopback: boolean;
  /** The maximum number of requests a second. Simultaneous requests are paid for in advance. */
  readonly rate?: number | undefined;
  /** Whether evidence has only response bodies that are JSON. */
  readonly jsonOnly?: boolean;
  /** The contract; read from openapi.yaml by default. */
  readonly contract?: Contract;
  /** The trace that the requests of the run belong to; each begins one by default. */
  readonly trace?: TraceContext;
  /** Ends the run early: the rest is `not_run`. */
  readonly signal?: AbortSignal;
  readonly onStart?: (check: CpoCheck, position: number, total: number) => void;
  readonly onResult?: (result: CheckResult) => void;
  /** For tests. */
  readonly limits?: Partial<Limits>;
  /** For tests. */
  readonly network?: Network;
};

const TOO_LONG = 'a shorter run: it was ended after 2 minutes';

/**
 * Checks the endpoint of a CPO, as the service would call it. Ends within two minutes, and unpairs what it has paired. If the
 * target cannot be called at all, the check that says so has failed, also if it was not asked for.
 * @throws OperatorError when the target is not a base URL
 */
export async function runCpoChecks(run: CpoRun): Promise<Report> {
  const startedAt = new Date();
  const limits = { ...LIMITS, ...run.limits };
  const target = parseTarget(run.target, run.loopback);
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new RunEnded(TOO_LONG)), limits.runMs);
  const stop = () => controller.abort(new RunEnded('a run that is not stopped'));
  if (run.signal?.aborted) stop();
  run.signal?.addEventListener('abort', stop);
  const { network = {}, rate } = run;
  const caller = new Caller({ local: target.local, limits, network, rate, signal: controller.signal });
  try {
    const contract = run.contract ?? readContract();
    const kit = await createKit(run, target, caller, contract.document);
    const selected = cpoChecks.filter(({ id }) => isSelected(id, run, kit));
    const checks: CheckResult[] = [];
    for (const [position, check] of selected.entries()) {
      run.onStart?.(check, position, selected.length);
      const result = await runCheck(kit, check, run);
      run.onResult?.(result);
      checks.push(result);
    }
    await unpairAll(kit);
    return buildReport(contract, target.baseUrl, startedAt, new Date(), checks);
  } finally {
    clearTimeout(timer);
    run.signal?.removeEventListener('abort', stop);
    await caller.close();
  }
}

const isSelected = (id: string, { only }: CpoRun, { gate }: Kit) =>
  only === undefined || only.includes(id) || gate?.id === id;

async function createKit(run: CpoRun, target: Kit['target'], caller: Caller, document: OpenApiDocument): Promise<Kit> {
  const kit: Kit = {
    target,
    token: run.token,
    codes: run.codes,
    protocols: run.protocols,
    userAgent: `scsp-pairing/${document.info.version} (conformance)`,
    trace: run.trace,
    caller,
    validate: jsonValidator(document),
    gate: undefined,
    unusedCodes: [...(run.codes.good ?? [])],
    stations: [],
    shared: new Map(),
  };
  // Without an answer because the run was stopped, every check says so.
  const gate = await checkGates(kit).catch((error: unknown) => {
    if (!(error instanceof CheckNotRun)) throw error;
    return undefined;
  });
  return { ...kit, gate };
}

async function runCheck(
  kit: Kit,
  check: CpoCheck,
  { readOnly = false, jsonOnly = false }: CpoRun,
): Promise<CheckResult> {
  const { id, title, level, clause, operation, remedy } = check;
  const description = { id, title, level, clause, ...(operation !== undefined && { operation }) };
  if (readOnly && check.changes)
    return { ...description, verdict: 'not_run', needs: 'a run without --read-only: the check changes something' };
  const { gate } = kit;
  if (gate !== undefined && !isGate(id)) return { ...description, verdict: 'not_run', needs: `${gate.id} to pass` };
  try {
    await check.run(kit);
    return { ...description, verdict: 'passed' };
  } catch (error) {
    if (error instanceof CheckNotRun) return { ...description, verdict: 'not_run', needs: error.needs };
    if (!(error instanceof CheckFailed)) throw error;
    if (error instanceof CodeRefused && !(await reportsRefusal(kit, id)))
      return { ...description, verdict: 'not_run', needs: NEEDS_FRESH };
    const mask = createMask({ token: kit.token, codes: allCodes(kit.codes) });
    const evidence = evidenceOf(mask, error.note, error.exchange, jsonOnly);
    return { ...description, verdict: verdictOnFailure(level), evidence, remedy: error.remedy ?? remedy };
  }
}
