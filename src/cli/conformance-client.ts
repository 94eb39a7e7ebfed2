import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { buildReport } from '../conformance/build-report';
import type { Report } from '../conformance/check';
import { type ClientCheckResult, clientChecks, isAccepted, nameOf } from '../conformance/client/judge';
import { type ClientKit, startClientKit } from '../conformance/client/kit';
import type { ObservedRequest } from '../conformance/client/observed';
import { runClientKit } from '../conformance/client/run';
import { exampleStations, instruction, nextStep, type Step, steps } from '../conformance/client/steps';
import { scaledTimes } from '../conformance/client/times';
import { junitReport } from '../conformance/report/junit';
import { textReport } from '../conformance/report/text';
import { readContract } from '../contract/document';
import { jsonValidator } from '../contract/validate-json';
import { line } from './text';
import { whole } from './values';
import { type Answer, answering, EndedWith, type Given, type Shell, verb } from './verb';

const FAILED = 1;
const NOBODY_CALLED = 3;
const SUITE = 'client';

type Format = 'text' | 'json' | 'junit';
type Options = {
  port: number;
  host: string;
  report: Format;
  timeout: number;
  timeScale: number;
  list?: true;
  json?: true;
};

export function clientKitCommand(conformance: Command, shell: Shell): void {
  const client = verb(
    conformance,
    'client',
    "plays the service against a CPO's caller, misbehaves on purpose and judges what the caller does",
    'scsp conformance client',
    'scsp conformance client --port 8080 --report junit > client.xml',
  )
    .option('--port <N>', 'the port to listen on; 0 picks one', whole(0, 65_535), 3_002)
    .option('--host <HOST>', 'the address to listen on', '127.0.0.1')
    .addOption(
      new Option('--report <FORMAT>', 'the format of the report').choices(['text', 'json', 'junit']).default('text'),
    )
    .option('--timeout <SECONDS>', 'ends the run after this time at the latest', whole(1, 86_400), 1_800)
    .option('--list', 'lists the checks with what they need, and does not start')
    .addOption(new Option('--time-scale <FACTOR>').argParser(Number).default(1).hideHelp())
    .addHelpText(
      'after',
      '\nExit status: 0 no check failed, 1 a check failed, 2 invalid usage, 3 nobody called.\nThe run ends when every check has a verdict, at Ctrl-C or after --timeout.',
    );
  client.action(
    answering(shell, async (given, options: Options) => {
      const { json } = client.optsWithGlobals<{ json?: true }>();
      const report = json ? 'json' : options.report;
      if (options.list) return listChecks();
      return run(given, { ...options, report }, (message) => client.error(`error: ${message}`));
    }),
  );
}

function listChecks(): Answer {
  const rows = clientChecks.map(({ id, level, title, needs }) => ({ id, level, title, needs }));
  return { rows, columns: ['id', 'level', 'needs'] };
}

/** Starts the kit, says what to do, prints what happens and then the report. */
async function run(given: Given, options: Options, refuse: (message: string) => never): Promise<undefined> {
  const { port, host, report, timeout, timeScale } = options;
  const stop = given.stopSignal();
  const times = scaledTimes(timeScale);
  const token = `scsp_cpo_${randomBytes(24).toString('base64url')}`;
  // A report for a program must be alone on standard output.
  const progress = report === 'text' ? given.stdout : given.stderr;
  const say = (text: string) => progress.write(`${text}\n`);

  const contract = readContract();
  const startedAt = new Date();
  const started = startClientKit({
    validate: jsonValidator(contract.document),
    host,
    port,
    token,
    times,
    onAnswered: (request) => say(requestLine(request)),
  });
  const kit = await started.catch(({ message }: Error) => refuse(`cannot listen: ${message}`));
  try {
    say(introduction(kit, token));
    const { results, called } = await runClientKit(kit, {
      times,
      timeoutMs: timeout * 1_000,
      stop,
      onVerdict: (result, open) => say(verdictLine(result, open, nextStep(kit.requests().filter(isAccepted)))),
    });
    const checks = results.map(({ last_seen_at: _, ...check }) => check);
    const finished = buildReport(contract, kit.url, startedAt, new Date(), checks);
    await given.print({ row: finished, line: formatted(finished, report, given.stdout.isTTY === true) });
    if (!called) throw new EndedWith(NOBODY_CALLED, 'nobody called');
    if (finished.counts.failed > 0) throw new EndedWith(FAILED);
  } finally {
    await kit.stop();
  }
}

function formatted(report: Report, format: Format, colours: boolean): string {
  if (format === 'json') return JSON.stringify(report, undefined, 2);
  return format === 'junit' ? junitReport(report, SUITE).trimEnd() : `\n${textReport(report, colours)}`;
}

function introduction(kit: ClientKit, token: string): string {
  return [
    `address  ${kit.url}`,
    `token    ${token}`,
    '',
    'Give both to your backend, instead of those of the service. Then do these steps with it, in any order:',
    '',
    ...steps.map((step, index) => `${String(index + 1).padStart(3)}. ${instruction(step)}`),
    '',
    'A station to send, with the uid of the step (OCPP, OCPI):',
    '',
    ...Object.entries(exampleStations).map(([member, station]) => `  "${member}": ${JSON.stringify(station)}`),
    '',
  ].join('\n');
}

/** Formats a request. What a caller sent is printed without control characters. */
function requestLine(request: ObservedRequest): string {
  const { answer } = request;
  const outcome = answer?.outcome === 'sent' ? answer.status : answer?.outcome;
  return line([new Date(request.at).toISOString().slice(11, 23), nameOf(request), '→', outcome]);
}

/** Formats a verdict, with what is left to do. */
function verdictLine({ verdict, id, evidence }: ClientCheckResult, open: number, next: Step | undefined): string {
  const left = `${open} ${open === 1 ? 'check' : 'checks'} left${next ? `, next: ${instruction(next)}` : ''}`;
  const note = verdict === 'passed' ? [] : [evidence?.note];
  return line([verdict.padEnd(7), id.padEnd(27), ...note, `(${left})`]);
}
