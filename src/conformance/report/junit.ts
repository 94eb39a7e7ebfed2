import type { CheckResult, Report } from '../check';

/** Formats a report as JUnit XML, which continuous integration servers show. */
export function junitReport(report: Report, suite: string): string {
  const { counts, checks } = report;
  const time = ((Date.parse(report.finished_at) - Date.parse(report.started_at)) / 1_000).toFixed(3);
  const totals = `tests="${checks.length}" failures="${counts.failed}" errors="0" skipped="${counts.not_run}" time="${time}"`;
  const properties = (['kit_version', 'contract_sha256', 'target'] as const).map(
    (name) => `      <property name="${name}" value="${escapeXml(report[name])}"/>`,
  );
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="scsp conformance" ${totals}>`,
    `  <testsuite name="${escapeXml(suite)}" ${totals} timestamp="${report.started_at}">`,
    '    <properties>',
    ...properties,
    '    </properties>',
    ...checks.flatMap((check) => testCase(check, suite)),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function testCase(check: CheckResult, suite: string): string[] {
  const { verdict } = check;
  const area = check.id.split('-', 1)[0] ?? '';
  const open = `    <testcase classname="${escapeXml(`${suite}.${area}`)}" name="${escapeXml(`${check.id}: ${check.title}`)}"`;
  if (verdict === 'passed') return [`${open}/>`];
  const inner =
    verdict === 'not_run'
      ? `<skipped message="${escapeXml(check.needs ?? '')}"/>`
      : verdict === 'failed'
        ? `<failure type="${check.level}" message="${escapeXml(check.evidence?.note ?? check.title)}">${escapeXml(details(check))}</failure>`
        : `<system-out>${escapeXml(`warning: ${check.evidence?.note ?? check.title}\n${details(check)}`)}</system-out>`;
  return [`${open}>`, `      ${inner}`, '    </testcase>'];
}

function details({ evidence = {}, clause, operation, remedy }: CheckResult): string {
  const parts = [
    ['sent', evidence.request],
    ['came', evidence.response],
    ['contract', clause],
    ['where', operation && `openapi.yaml, ${operation}`],
    ['remedy', remedy],
  ];
  return parts.flatMap(([name, text]) => (text ? [`${name}: ${text}`] : [])).join('\n');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};

/** Escapes text for XML 1.0 and replaces the characters that it cannot contain, escaped or not. */
export function escapeXml(text: string): string {
  return text
    .toWellFormed()
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
