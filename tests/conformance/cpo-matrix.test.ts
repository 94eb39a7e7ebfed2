import { cpoChecks } from '../../src/conformance/cpo/checks';
import { type MutantName, mutants } from '../../src/sandbox/mutants';
import { quietSandboxCpo, runKit, withVerdict } from '../harness/a-sandbox-cpo';
import { endLater } from '../harness/clean-up';

/** What fails on a mutant beside the check that it is named after, and why it must. */
const BESIDE: Partial<Record<MutantName, string[]>> = {
  // A response that breaks a rule of the station is not accepted as a whole.
  'pair-uid': ['pair-ocpp2.0.1'],
  'pair-evses': ['pair-ocpp2.0.1'],
  'pair-connectors': ['pair-ocpp2.0.1'],
  'pair-units': ['pair-ocpp2.0.1'],
  // A code that is never used up is also accepted ten times at once.
  'codes-once': ['codes-race'],
  // A first unpair that fails, fails in any letter case.
  'unpair-paired': ['unpair-letter-case'],
  // The service sends no body, so the kit never does.
  'unpair-no-body': ['unpair-encoded-uid', 'unpair-letter-case', 'unpair-paired', 'unpair-twice', 'unpair-unknown'],
};

/** Checks of TLS and addresses: their mutants are in cpo-tls.test.ts. */
const ELSEWHERE = ['transport-https', 'transport-address', 'transport-connect', 'transport-certificate'];

test('every check has a mutant, and every mutant a check', () => {
  const names = [...Object.keys(mutants), ...ELSEWHERE];
  expect(names.sort()).toEqual(cpoChecks.map(({ id }) => id).sort());
});

test('the sandbox CPO passes every check but those of TLS and addresses, which do not run on loopback', async () => {
  const cpo = await quietSandboxCpo();
  endLater(cpo.stop);
  const report = await runKit(cpo.url);
  expect(report.checks.filter(({ verdict }) => verdict === 'failed' || verdict === 'warning')).toEqual([]);
  expect(withVerdict(report, 'not_run')).toEqual(['transport-https', 'transport-address', 'transport-certificate']);
});

describe('the mutant', () => {
  test.each(Object.keys(mutants) as MutantName[])(
    '%s fails its check, and nothing else that is not listed',
    async (mutant) => {
      const cpo = await quietSandboxCpo({ mutant });
      endLater(cpo.stop);
      const report = await runKit(cpo.url, { limits: { deadlineMs: 1_000 } });
      const { level } = cpoChecks.find(({ id }) => id === mutant)!;
      expect(withVerdict(report, level === 'required' ? 'failed' : 'warning')).toContain(mutant);
      expect(withVerdict(report, 'failed', 'warning').sort()).toEqual([mutant, ...(BESIDE[mutant] ?? [])].sort());
    },
  );
});
