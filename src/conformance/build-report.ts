import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Contract, projectFile } from '../contract/document';
import { type CheckResult, countVerdicts, type Report } from './check';

/** Builds the report of a run that has ended. */
export function buildReport(
  contract: Contract,
  target: string,
  startedAt: Date,
  finishedAt: Date,
  checks: readonly CheckResult[],
): Report {
  const { version }: { version: string } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));
  return {
    kit_version: version,
    contract_sha256: createHash('sha256').update(contract.text).digest('hex'),
    target,
    started_at: startedAt.toISOString(),
    finished_at: finishedAt.toISOString(),
    counts: countVerdicts(checks),
    checks,
  };
}
