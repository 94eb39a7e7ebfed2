import type { CheckResult, Report } from '../../src/conformance/check';
import { junitReport } from '../../src/conformance/report/junit';
import { textReport } from '../../src/conformance/report/text';
import { startBrowser } from '../harness/browser';

const NASTY = `<b>&amp; "quotes" 'apostrophes' ]]> \u0000\u001b\ud800\ufffe é 💥\nsecond line`;
const check = (id: string, verdict: CheckResult['verdict'], more: Partial<CheckResult> = {}): CheckResult => ({
  id,
  title: `The rule of ${id}`,
  level: verdict === 'warning' ? 'recommended' : 'required',
  verdict,
  clause: 'What the contract says.',
  ...more,
});
const evidence = { note: `what is wrong ${NASTY}`, request: `curl 'http://cpo.example/${NASTY}'`, response: NASTY };
const SHOWN_NEEDS = NASTY.replace('\n', ' ');
const report: Report = {
  kit_version: '1.2.3',
  contract_sha256: 'f00'.repeat(21),
  target: 'https://cpo.example/a&b',
  started_at: '2026-11-29T12:00:00.000Z',
  finished_at: '2026-11-29T12:00:01.500Z',
  counts: { passed: 1, failed: 1, warning: 1, not_run: 1 },
  checks: [
    check('pair-uid', 'passed'),
    check('pair-evses', 'failed', { evidence, remedy: NASTY, operation: 'cpoPairOcpp' }),
    check('pair-units', 'warning', { evidence, remedy: NASTY }),
    check('codes-used', 'not_run', { needs: NASTY }),
  ],
};

test('a report for a person has all that a ticket needs, and an answer cannot forge a line of it', () => {
  const lines = textReport(report, false).split('\n');
  expect(lines.filter((line) => /^\S/.test(line))).toEqual([
    'Conformance of https://cpo.example/a&b',
    'pass  pair-uid: The rule of pair-uid',
    'FAIL  pair-evses: The rule of pair-evses',
    'warn  pair-units: The rule of pair-units',
    `skip  1 check: codes-used. Needs ${SHOWN_NEEDS}`,
    '1 passed, 1 failed, 1 warning, 1 not run, in 1.5 s',
    'scsp-pairing 1.2.3, contract f00f00f00f00, 2026-11-29T12:00:00.000Z',
    `1 check was not run: it needs ${SHOWN_NEEDS}`,
  ]);
  const members = ['what', 'sent', 'came', 'contract', 'where', 'remedy'];
  const failed = lines.slice(
    lines.findIndex((line) => line.startsWith('FAIL')),
    lines.findIndex((line) => line.startsWith('warn')),
  );
  expect(failed.flatMap((line) => /^ {6}(\w+)/.exec(line)?.[1] ?? [])).toEqual(members);
});

test('a report for a person has one line for all checks that need the same, and ends with what was not run', () => {
  const ids = ['1', '2', '3', '4', '5', '6', '7', '8'];
  const checks = [
    ...ids.map((id) => check(`pair-${id}`, 'not_run', { needs: 'transport-connect to pass' })),
    check('codes-used', 'not_run', { needs: '`used`' }),
  ];
  const lines = textReport(
    { ...report, checks, counts: { passed: 0, failed: 0, warning: 0, not_run: 9 } },
    false,
  ).split('\n');
  expect(lines.filter((line) => line.startsWith('skip'))).toEqual([
    'skip  8 checks: pair-1, pair-2, pair-3, pair-4, pair-5, pair-6, and 2 more. Needs transport-connect to pass',
    'skip  1 check: codes-used. Needs `used`',
  ]);
  expect(lines.at(-1)).toBe('9 checks were not run: they need transport-connect to pass (8); `used` (1)');
});

test('colours are there on request only', () => {
  expect(textReport(report, false)).not.toContain('\u001b[3');
  expect(textReport(report, true)).toContain('\u001b[31mFAIL\u001b[0m  pair-evses');
});

test('a JUnit report is well-formed XML with its texts escaped', async () => {
  const { browser, stop } = await startBrowser();
  const page = await browser.newPage();
  // As text: the types of this project are those of Node, without a DOM.
  const parsed = await page.evaluate(`(() => {
    const document = new DOMParser().parseFromString(${JSON.stringify(junitReport(report, 'cpo'))}, 'application/xml');
    const attribute = (one, name) => one?.getAttribute(name);
    const all = (selector) => [...document.querySelectorAll(selector)];
    const suite = document.querySelector('testsuite');
    return {
      error: document.querySelector('parsererror')?.textContent,
      suite: ['tests', 'failures', 'errors', 'skipped', 'time', 'timestamp'].map((name) => attribute(suite, name)),
      properties: all('property').map((one) => [attribute(one, 'name'), attribute(one, 'value')]),
      cases: all('testcase').map((one) => [attribute(one, 'classname'), attribute(one, 'name'), one.firstElementChild?.tagName]),
      failure: document.querySelector('failure')?.textContent,
      skipped: attribute(document.querySelector('skipped'), 'message'),
    };
  })()`);
  await stop();
  const shown = ['\u0000', '\u001b', '\ufffe'].reduce((text, one) => text.replace(one, '\ufffd'), NASTY.toWellFormed());
  expect(parsed).toEqual({
    error: undefined,
    suite: ['4', '1', '0', '1', '1.500', '2026-11-29T12:00:00.000Z'],
    properties: [
      ['kit_version', '1.2.3'],
      ['contract_sha256', 'f00'.repeat(21)],
      ['target', 'https://cpo.example/a&b'],
    ],
    cases: [
      ['cpo.pair', 'pair-uid: The rule of pair-uid', undefined],
      ['cpo.pair', 'pair-evses: The rule of pair-evses', 'failure'],
      ['cpo.pair', 'pair-units: The rule of pair-units', 'system-out'],
      ['cpo.codes', 'codes-used: The rule of codes-used', 'skipped'],
    ],
    failure: `sent: curl 'http://cpo.example/${shown}'\ncame: ${shown}\ncontract: What the contract says.\nwhere: openapi.yaml, cpoPairOcpp\nremedy: ${shown}`,
    // XML normalises a line break in an attribute.
    skipped: shown.replace('\n', ' '),
  });
});
