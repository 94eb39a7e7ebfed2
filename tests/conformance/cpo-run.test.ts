import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cpoChecks } from '../../src/conformance/cpo/checks';
import { parseCodes } from '../../src/conformance/cpo/codes-file';
import { projectFile } from '../../src/contract/document';
import { OperatorError } from '../../src/problems';
import type { SandboxCpo } from '../../src/sandbox/cpo';
import { sandboxCodes } from '../../src/sandbox/scenarios';
import { quietSandboxCpo, runKit, TOKEN, withVerdict } from '../harness/a-sandbox-cpo';
import { endLater } from '../harness/clean-up';

let cpo: SandboxCpo;
beforeEach(async () => {
  cpo = await quietSandboxCpo();
  endLater(cpo.stop);
});

/** The paths that the sandbox CPO was asked for with success, without the start that all have. */
const succeeded = () => cpo.calls.filter(({ status }) => status === 200).map(({ operation }) => operation);

test('a run that only reads changes nothing: no request is answered 200', async () => {
  const report = await runKit(cpo.url, { readOnly: true });
  expect(report.counts.failed + report.counts.warning).toBe(0);
  expect(succeeded()).toEqual([]);
  const changing = cpoChecks.filter(({ changes }) => changes).map(({ id }) => id);
  expect(withVerdict(report, 'not_run').filter((id) => !id.startsWith('transport-'))).toEqual(changing);
});

test('without codes of the CPO, the checks that need them are not run and say what they need', async () => {
  const report = await runKit(cpo.url, { codes: {} });
  expect(report.counts.failed + report.counts.warning).toBe(0);
  const needing = cpoChecks.filter(({ needs, id }) => needs !== undefined && !id.startsWith('transport-'));
  expect(
    report.checks.filter(({ id, verdict }) => verdict === 'not_run' && !id.startsWith('transport-')),
  ).toMatchObject(
    needing.map(({ id }) => ({ id, needs: expect.stringMatching(/`(good|same_station|used|expired)`/) })),
  );
  expect(succeeded()).toEqual([]);
});

test('two codes are enough for every check of one protocol, and other protocols are not called', async () => {
  const report = await runKit(cpo.url, {
    codes: { ...sandboxCodes, good: sandboxCodes.good.slice(0, 2) },
    protocols: ['ocpi2.2.1'],
  });
  expect(report.counts.failed + report.counts.warning).toBe(0);
  expect(withVerdict(report, 'not_run')).toEqual([
    'transport-https',
    'transport-address',
    'transport-certificate',
    'pair-ocpp1.6',
    'pair-ocpp2.0.1',
    'pair-ocpp2.1',
    'pair-ocpi2.2',
    'pair-ocpi2.3.0',
  ]);
  expect(new Set(succeeded())).toEqual(new Set(['cpoPairOcpi221', 'cpoUnpairEvse']));
});

test('only the checks that are asked for run, also one that builds on others', async () => {
  const report = await runKit(cpo.url, { only: ['unpair-twice'] });
  expect(report.checks).toMatchObject([{ id: 'unpair-twice', verdict: 'passed' }]);
});

test('what a run has paired is unpaired at its end, so that the same codes work again', async () => {
  const run = () => runKit(cpo.url, { only: ['pair-ocpp1.6', 'pair-ocpi2.2', 'codes-race'] });
  expect((await run()).counts).toMatchObject({ passed: 3, failed: 0 });
  const unpaired = cpo.calls.flatMap(({ uid, status }) => (status === 200 ? (uid ?? []) : []));
  expect(unpaired.sort()).toEqual(['SANDBOX-100001', 'SANDBOX-100002', 'SANDBOX-100003']);
  expect((await run()).counts).toMatchObject({ passed: 3, failed: 0 });
});

test('the report names the kit and the contract', async () => {
  const report = await runKit(cpo.url, { only: ['pair-empty-body'] });
  expect(report).toEqual({
    kit_version: JSON.parse(readFileSync(projectFile('package.json'), 'utf8')).version,
    contract_sha256: createHash('sha256')
      .update(readFileSync(projectFile('openapi.yaml')))
      .digest('hex'),
    target: cpo.url,
    started_at: expect.stringMatching(/^\d{4}-.*Z$/),
    finished_at: expect.stringMatching(/^\d{4}-.*Z$/),
    counts: { passed: 1, failed: 0, warning: 0, not_run: 0 },
    checks: [
      {
        id: 'pair-empty-body',
        title: 'An empty body is answered 400',
        level: 'required',
        verdict: 'passed',
        clause: 'A malformed request is answered 400.',
        operation: 'cpoPairOcpp',
      },
    ],
  });
});

test('no more requests are sent in a second than allowed, and simultaneous ones are paid for in advance', async () => {
  const before = performance.now();
  // Two requests to see whether the target can be called, and 30 in the burst.
  await runKit(cpo.url, { only: ['codes-burst'], rate: 40 });
  expect(performance.now() - before).toBeGreaterThan((30 * 1_000) / 40 - 50);
  expect(cpo.calls).toHaveLength(32);
});

test('every result is handed on as soon as it is there', async () => {
  const events: string[] = [];
  await runKit(cpo.url, {
    only: ['pair-empty-body', 'pair-broken-body'],
    onStart: ({ id }, position, total) => events.push(`${position + 1}/${total} ${id}`),
    onResult: ({ id, verdict }) => events.push(`${id} ${verdict}`),
  });
  expect(events).toEqual([
    '1/2 pair-empty-body',
    'pair-empty-body passed',
    '2/2 pair-broken-body',
    'pair-broken-body passed',
  ]);
});

test.each([
  'nonsense',
  'ftp://cpo.example',
  'https://u:p@cpo.example',
  'https://cpo.example/?a=1',
  'https://cpo.example/#a',
])('a target %s is refused', async (target) => {
  await expect(runKit(target)).rejects.toThrow(OperatorError);
});

test('a target on loopback is refused where loopback is not allowed', async () => {
  for (const target of [cpo.url, 'https://127.0.0.1', 'https://[::1]:1', 'https://cpo.localhost'])
    await expect(runKit(target, { loopback: false })).rejects.toThrow(OperatorError);
  expect(cpo.calls).toEqual([]);
});

test('a token that is refused on every path fails one check, and no check passes by it', async () => {
  const report = await runKit(cpo.url, { token: `${TOKEN}x`, only: ['pair-ocpp1.6', 'pair-incorrect-code'] });
  const needs = 'auth-token-accepted to pass';
  expect(report.checks).toMatchObject([
    {
      id: 'auth-token-accepted',
      verdict: 'failed',
      evidence: { note: 'your backend refuses the token: every request with it is answered 401' },
    },
    { id: 'pair-ocpp1.6', verdict: 'not_run', needs },
    { id: 'pair-incorrect-code', verdict: 'not_run', needs },
  ]);
});

test('a token of the service that is refused is recognised as such', async () => {
  const report = await runKit(cpo.url, { token: 'scsp_cpo_of-the-other-direction' });
  expect(withVerdict(report, 'passed', 'failed', 'warning')).toEqual(['transport-connect', 'auth-token-accepted']);
  const note = report.checks.find(({ verdict }) => verdict === 'failed')?.evidence?.note;
  expect(note).toMatch(/ It is a token of the service, not one of your backend$/);
});

test('a wrong path fails one check, and the rest is not run', async () => {
  const report = await runKit(`${cpo.url}/scsp`);
  expect(withVerdict(report, 'passed', 'failed', 'warning')).toEqual(['transport-connect', 'transport-base-url']);
  expect(report.checks.find(({ id }) => id === 'pair-uid')).toMatchObject({ needs: 'transport-base-url to pass' });
});

test('codes that were used in an earlier run fail one check, which says so, and the rest is not run', async () => {
  for (const code of sandboxCodes.good)
    await fetch(`${cpo.url}/v1/cpo/ocpp1.6/pair`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ code }),
    });
  const report = await runKit(cpo.url, { codes: { good: sandboxCodes.good } });
  expect(withVerdict(report, 'failed', 'warning')).toEqual(['pair-ocpp1.6']);
  const failed = report.checks.find(({ verdict }) => verdict === 'failed');
  expect(failed?.evidence?.note).toBe('ocpp1.6: your backend does not accept this code of `good` (any more)');
  expect(failed?.remedy).toMatch(/^Issue new codes for each run\./);
  const waiting = report.checks.filter(({ needs }) => needs?.startsWith('fresh codes in `good`'));
  expect(waiting.map(({ id }) => id)).toEqual(
    expect.arrayContaining(['pair-ocpi2.3.0', 'pair-uid', 'codes-leading-zero', 'codes-race', 'unpair-paired']),
  );
});

test.each([['unpair-twice'], ['pair-uid'], ['codes-race'], ['codes-once']])(
  'a refused code fails %s where it is the only check that needs codes',
  async (id) => {
    const report = await runKit(cpo.url, { codes: { good: ['999998', '999999'] }, only: [id] });
    expect(report.checks).toMatchObject([{ id, verdict: 'failed', remedy: expect.stringMatching(/^Issue new codes/) }]);
  },
);

test('a protocol whose code is refused does not keep others from being checked', async () => {
  const report = await runKit(cpo.url, {
    codes: { good: ['999999', ...sandboxCodes.good] },
    only: ['pair-ocpp1.6', 'pair-ocpp2.1', 'pair-uid'],
  });
  expect(withVerdict(report, 'failed')).toEqual(['pair-ocpp1.6']);
  expect(withVerdict(report, 'passed')).toEqual(['pair-ocpp2.1', 'pair-uid']);
});

test.each([
  ['{', 'is not valid JSON'],
  ['[]', 'must contain a JSON object'],
  ['{"goods": []}', 'unknown member "goods"'],
  ['{"good": "Code-1"}', 'good in the file of codes must be a list'],
  ['{"good": ["Code-1", 2]}', 'good in the file of codes must be a list'],
  ['{"good": ["Code-1", "Code-1"]}', 'contains a code twice'],
  ['{"used": ["Code-1"]}', 'used in the file of codes must be a string'],
  ['{"expired": ""}', 'expired in the file of codes must be a string'],
])('a file of codes %s is refused without its codes', (text, message) => {
  expect(() => parseCodes(text)).toThrow(message);
  expect(() => parseCodes(text)).not.toThrow('Code-1');
});
