import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Report } from '../conformance/check';
import { checksNamed, cpoChecks } from '../conformance/cpo/checks';
import { type CpoCodes, parseCodes } from '../conformance/cpo/codes-file';
import { runCpoChecks } from '../conformance/cpo/run';
import { parseTarget } from '../conformance/cpo/target';
import { junitReport } from '../conformance/report/junit';
import { textReport } from '../conformance/report/text';
import { OperatorError } from '../problems';
import { isPayloadProtocol, type PayloadProtocol, protocols } from '../protocols';
import { showProgress } from './progress';
import { protocolList, readToken } from './values';
import { type Answer, answering, EndedWith, type Given, type Shell, verb } from './verb';

const FAILED = 1;
const UNREACHABLE = 3;
const FORMATS = ['text', 'json', 'junit'] as const;
type Format = (typeof FORMATS)[number];

type CpoOptions = {
  target?: string;
  tokenStdin?: true;
  codes?: string;
  protocols: readonly string[] | 'all';
  readOnly?: true;
  only?: string;
  list?: true;
  report: Format;
};

/** Adds `scsp conformance cpo`. */
export function cpoConformanceCommand(conformance: Command, shell: Shell): void {
  const cpo = verb(
    conformance,
    'cpo',
    "checks a CPO's endpoint, as the service would call it; exit status 0: no check failed, 1: one failed, 2: usage, 3: unreachable",
    'scsp conformance cpo --list',
    'echo "$MY_TOKEN" | scsp conformance cpo --target https://cpo.example --token-stdin --codes codes.json',
    'echo "$MY_TOKEN" | scsp conformance cpo --target http://localhost:3001 --token-stdin --protocols ocpi2.2.1 --read-only',
  );
  cpo
    .option('--target <URL>', 'the base URL of the endpoint: https, or http on this machine')
    .option('--token-stdin', 'reads the token that the CPO issued to the service from standard input')
    .option(
      '--codes <FILE>',
      'codes of the CPO: {"good": […], "same_station": […, …], "used": …, "expired": …}, each optional',
    )
    .option('--protocols <LIST>', 'the payload protocols that the CPO serves, comma-separated', protocolList, 'all')
    .option('--read-only', 'leaves out the checks that pair or unpair')
    .option('--only <LIST>', 'only these checks or areas, comma-separated, such as unpair,pair-uid')
    .option('--list', 'lists the checks and what they need instead of running them')
    .option('--report <FORMAT>', `the format of the report: ${FORMATS.join(', ')}`, format, 'text')
    .action(
      answering(shell, async (given, options: CpoOptions) => {
        if (options.list) return listChecks();
        const report = await check(given, options, cpo);
        await given.print(answerOf(report, options.report, given.stdout.isTTY === true));
        if (report.checks.some(({ id, verdict }) => id === 'transport-connect' && verdict === 'failed'))
          throw new EndedWith(UNREACHABLE, 'the target is unreachable');
        if (report.counts.failed > 0) throw new EndedWith(FAILED);
        return undefined;
      }),
    );

  function format(text: string): Format {
    return FORMATS.find((one) => one === text) ?? cpo.error(`error: --report must be one of ${FORMATS.join(', ')}`);
  }
}

/** Runs the checks that the options ask for. Wrong options are wrong usage. */
async function check(given: Given, options: CpoOptions, command: Command): Promise<Report> {
  const usage = <T>(read: () => T): T => {
    try {
      return read();
    } catch (error) {
      if (error instanceof OperatorError) return command.error(`error: ${error.message}`);
      throw error;
    }
  };
  const target = options.target ?? command.error("error: required option '--target <URL>' not specified");
  if (options.tokenStdin === undefined) command.error("error: required option '--token-stdin' not specified");
  usage(() => parseTarget(target, true));
  const codes = usage(() => readCodes(options.codes));
  const only = usage(() => options.only?.split(',').flatMap((name) => named(name.trim())));
  const token = await readToken(given.stdin);
  const stop = given.stopSignal();
  const progress = showProgress(given.stderr);
  try {
    return await runCpoChecks({
      target,
      token,
      codes,
      protocols: listed(options.protocols),
      readOnly: options.readOnly === true,
      only,
      loopback: true,
      signal: stop,
      onStart: ({ id }, position, total) => progress.show(`${position + 1}/${total}  ${id}`),
    });
  } finally {
    progress.clear();
  }
}

function readCodes(file: string | undefined): CpoCodes {
  if (file === undefined) return {};
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { message }: { message?: unknown } = Object(error);
    throw new OperatorError(`option '--codes <FILE>' cannot be read: ${message}`);
  }
  return parseCodes(text);
}

function named(name: string): string[] {
  const ids = checksNamed(name).map(({ id }) => id);
  if (ids.length === 0)
    throw new OperatorError(`there is no check or area ${JSON.stringify(name.slice(0, 60))}: see --list`);
  return ids;
}

function listed(names: readonly string[] | 'all'): [PayloadProtocol, ...PayloadProtocol[]] {
  const [first, ...rest] = (names === 'all' ? Object.keys(protocols) : names).filter(isPayloadProtocol);
  if (first === undefined) throw new OperatorError('--protocols names no payload protocol');
  return [first, ...rest];
}

/** Lists the checks for a person, or for a program with all that is known of them. */
function listChecks(): Answer {
  const rows = cpoChecks.map(({ run: _run, changes, ...check }) => ({
    ...check,
    changes: changes ? 'yes' : 'no',
    needs: check.needs ?? '-',
  }));
  return { rows, columns: ['id', 'level', 'changes', 'needs', 'title'] };
}

function answerOf(report: Report, format: Format, colours: boolean): Answer {
  const formatters: Record<Format, () => string> = {
    text: () => textReport(report, colours),
    json: () => JSON.stringify(report, null, 2),
    junit: () => junitReport(report, 'cpo').trimEnd(),
  };
  return { row: report, line: formatters[format]() };
}
