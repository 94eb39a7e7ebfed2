import { Writable } from 'node:stream';
import { type CpoRun, runCpoChecks } from '../../src/conformance/cpo/run';
import { readContract } from '../../src/contract/document';
import { createLog } from '../../src/log';
import { type PayloadProtocol, protocols } from '../../src/protocols';
import { type SandboxCpoOptions, startSandboxCpo } from '../../src/sandbox/cpo';
import { sandboxCodes } from '../../src/sandbox/scenarios';

export const TOKEN = 'the-token/of+the-service==';
export const ALL_PROTOCOLS = Object.keys(protocols) as [PayloadProtocol, ...PayloadProtocol[]];

/** A sandbox CPO that logs nothing. */
export function quietSandboxCpo(options: SandboxCpoOptions = {}) {
  const quiet = new Writable({ write: (_chunk, _encoding, done) => done() });
  return startSandboxCpo(0, TOKEN, createLog('error', quiet), options);
}

const contract = readContract();

/** Runs the kit with everything that it needs of a sandbox CPO, or with what the test says. */
export const runKit = (target: string, run: Partial<CpoRun> = {}) =>
  runCpoChecks({
    target,
    token: TOKEN,
    codes: sandboxCodes,
    protocols: ALL_PROTOCOLS,
    loopback: true,
    contract,
    ...run,
  });

/** The ids of the checks with a verdict. */
export const withVerdict = ({ checks }: Awaited<ReturnType<typeof runKit>>, ...verdicts: string[]) =>
  checks.filter(({ verdict }) => verdicts.includes(verdict)).map(({ id }) => id);
