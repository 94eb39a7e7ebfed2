import { clientChecks } from '../../../src/conformance/client/judge';
import { startClientKit } from '../../../src/conformance/client/kit';
import { runClientKit } from '../../../src/conformance/client/run';
import { TIMES, type Times } from '../../../src/conformance/client/times';
import { readContract } from '../../../src/contract/document';
import { jsonValidator } from '../../../src/contract/validate-json';
import { endLater } from '../../harness/clean-up';
import { type Mutant, mutants } from './caller-mutants';
import { doAllSteps, loadCaller } from './sample-caller';

const validate = jsonValidator(readContract().document);
const TOKEN = 'scsp_cpo_of-the-kit-in-a-test';
/** All steps are done before the kit judges, so it need not wait to know that nothing more comes. */
const FAST: Times = {
  ...TIMES,
  retryAfter503S: 2,
  slowMs: 1_000,
  withheldMs: 1_000,
  quietMs: 100,
  patienceMs: 100,
};
/** A second attempt is enough for each mistake. */
const TWO_ATTEMPTS: [string, string] = ['ATTEMPTS = 4', 'ATTEMPTS = 2'];

/** Does all steps with a caller and returns the verdicts by check. */
async function verdictsOn(edits: Mutant['edits']): Promise<Record<string, string>> {
  const kit = await startClientKit({ validate, host: '127.0.0.1', port: 0, token: TOKEN, times: FAST });
  endLater(() => kit.stop());
  await doAllSteps(loadCaller({ url: kit.url, token: TOKEN }, [TWO_ATTEMPTS, ...edits]));
  const { results } = await runClientKit(kit, { times: FAST, timeoutMs: 10_000, stop: new AbortController().signal });
  return Object.fromEntries(results.map(({ id, verdict }) => [id, verdict]));
}

const allPassed = Object.fromEntries(clientChecks.map(({ id }) => [id, 'passed']));
const failureOf = (id: string) =>
  clientChecks.find((check) => check.id === id)?.level === 'required' ? 'failed' : 'warning';

/** The verdicts on each mutant. A run waits most of the time, so all run at once. */
let verdicts = new Map<string, Record<string, string>>();
beforeAll(async () => {
  const runs = mutants.map(async ({ name, edits }) => [name, await verdictsOn(edits)] as const);
  verdicts = new Map(await Promise.all(runs));
});

test('the sample caller of the guide passes all checks', async () => expect(await verdictsOn([])).toEqual(allPassed));

test('the sample caller takes a 404 of a wrong address neither for an incorrect code nor for an unpaired station', async () => {
  const kit = await startClientKit({ validate, host: '127.0.0.1', port: 0, token: TOKEN, times: FAST });
  endLater(() => kit.stop());
  const { pair, unpair, stationOf } = loadCaller({ url: `${kit.url}/wrong`, token: TOKEN });
  await expect(pair('000404', stationOf('KIT-2'))).rejects.toThrow('404 /problems/not-found');
  await expect(unpair('KIT-13')).rejects.toThrow('404 /problems/not-found');
});

test.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
  'a caller that %s fails',
  (name, { breaks, also = [] }) =>
    expect(verdicts.get(name)).toEqual({
      ...allPassed,
      ...Object.fromEntries([breaks, ...also].map((id) => [id, failureOf(id)])),
    }),
);

test('every check has a mutant', () =>
  expect([...new Set(mutants.map(({ breaks }) => breaks))].sort()).toEqual(clientChecks.map(({ id }) => id).sort()));

test('the times that ship are those of the contract', () =>
  expect(TIMES).toEqual({
    retryAfter429S: 2,
    retryAfter503S: 1,
    slowMs: 9_000,
    withheldMs: 20_000,
    quietMs: 10_000,
    repeatMs: 30_000,
    patienceMs: 60_000,
    toleranceMs: 50,
  }));
