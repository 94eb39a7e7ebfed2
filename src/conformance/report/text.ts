import type { CheckResult, Report, Verdict } from '../check';

const LABELS: Record<Verdict, string> = { passed: 'pass', failed: 'FAIL', warning: 'warn', not_run: 'skip' };
/** Colours by their SGR parameter: green, red, yellow, grey. */
const COLOURS: Record<Verdict, number> = { passed: 32, failed: 31, warning: 33, not_run: 90 };
const INDENT = ' '.repeat(6);
const NAME_WIDTH = 9;
/** How many of the checks with the same need are named. */
const NAMED = 6;

/**
 * Formats a report for a person. A check that did not pass has all that a ticket needs; those that were not run are grouped by
 * what they need.
 * @param colours whether to use ANSI colours, for a terminal
 */
export function textReport(report: Report, colours: boolean): string {
  const { counts, target, kit_version, contract_sha256 } = report;
  const seconds = ((Date.parse(report.finished_at) - Date.parse(report.started_at)) / 1_000).toFixed(1);
  const needs = idsByNeed(report.checks);
  const paint = (verdict: Verdict, text: string) => (colours ? `\x1b[${COLOURS[verdict]}m${text}\x1b[0m` : text);
  const label = (verdict: Verdict) => paint(verdict, LABELS[verdict]);
  return [
    `Conformance of ${target}`,
    '',
    ...report.checks.flatMap((check) => (check.verdict === 'not_run' ? [] : linesOf(check, label(check.verdict)))),
    ...[...needs].map(([need, ids]) => `${label('not_run')}  ${countOf(ids)}: ${named(ids)}. Needs ${need}`),
    '',
    `${counts.passed} passed, ${counts.failed} failed, ${counts.warning} ${counts.warning === 1 ? 'warning' : 'warnings'}, ${counts.not_run} not run, in ${seconds} s`,
    `scsp-pairing ${kit_version}, contract ${contract_sha256.slice(0, 12)}, ${report.started_at}`,
    ...(needs.size === 0 ? [] : [paint('warning', notRun(needs))]),
  ].join('\n');
}

type IdsByNeed = ReadonlyMap<string, readonly string[]>;

/** Groups the checks that were not run by what they need, in one line. */
function idsByNeed(checks: readonly CheckResult[]): IdsByNeed {
  const groups = new Map<string, string[]>();
  for (const { id, verdict, needs = '' } of checks) {
    if (verdict !== 'not_run') continue;
    const need = needs.replaceAll('\n', ' ');
    groups.set(need, [...(groups.get(need) ?? []), id]);
  }
  return groups;
}

const countOf = ({ length }: readonly string[]) => `${length} ${length === 1 ? 'check' : 'checks'}`;

const named = (ids: readonly string[]) =>
  [...ids.slice(0, NAMED), ...(ids.length > NAMED ? [`and ${ids.length - NAMED} more`] : [])].join(', ');

/** Says that checks were not run, and what they need: a run without failures may have checked little. */
function notRun(needs: IdsByNeed): string {
  const ids = [...needs.values()].flat();
  const wanted = [...needs].map(([need, { length }]) => (needs.size === 1 ? need : `${need} (${length})`));
  return `${countOf(ids)} ${ids.length === 1 ? 'was' : 'were'} not run: ${ids.length === 1 ? 'it needs' : 'they need'} ${wanted.join('; ')}`;
}

function linesOf(
  { id, title, verdict, evidence = {}, clause, operation, remedy }: CheckResult,
  label: string,
): string[] {
  const first = `${label}  ${id}: ${title}`;
  if (verdict === 'passed') return [first];
  return [
    first,
    ...field('what', evidence.note),
    ...field('sent', evidence.request),
    ...field('came', evidence.response),
    ...field('contract', clause),
    ...field('where', operation && `openapi.yaml, ${operation}`),
    ...field('remedy', remedy),
  ];
}

/** Formats a member; the further lines of its text are aligned with the first. */
function field(name: string, text: string | undefined): string[] {
  if (text === undefined || text === '') return [];
  const [first = '', ...more] = text.split('\n');
  return [
    `${INDENT}${name.padEnd(NAME_WIDTH)} ${first}`,
    ...more.map((line) => (INDENT + ' '.repeat(NAME_WIDTH + 1) + line).trimEnd()),
  ];
}
