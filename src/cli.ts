#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { attemptCommands } from './cli/attempts';
import { auditCommands } from './cli/audit';
import { caseCommand } from './cli/case';
import { codeCommands } from './cli/code';
import { conformanceCommands } from './cli/conformance';
import { cpoCommands } from './cli/cpo';
import { eventCommands } from './cli/events';
import { migrateCommand } from './cli/migrate';
import { outboxCommands } from './cli/outbox';
import { reEncryptCommand } from './cli/re-encrypt';
import { reasonOf } from './cli/reason';
import { sandboxCpoCommand } from './cli/sandbox-cpo';
import { stationCommands } from './cli/station';
import { statusCommand } from './cli/status';
import { tokenCommands } from './cli/token';
import { userCommands } from './cli/user';
import { EndedWith, errorLine, examples, JSON_OPTION, type Shell } from './cli/verb';
import { webhookCommands } from './cli/webhook';
import { projectFile } from './contract/document';
import { ignoreOutputErrors } from './log';

const REFUSED = 1;
const USAGE = 2;
/** The width of help output that does not go to a terminal. */
const HELP_WIDTH = 80;

const { version }: { version: string } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));

/** Returns whether output is JSON, on standard error too. `--json` may stand anywhere before `--`. */
function wantsJson(args: readonly string[]): boolean {
  const json = args.indexOf('--json');
  const operands = args.indexOf('--');
  return json !== -1 && (operands === -1 || json < operands);
}

function createProgram(shell: Shell, json: boolean): Command {
  const { stdout, stderr } = shell;
  const program = new Command('scsp')
    .description('Operates scsp-pairing. Reads the same settings from the environment as the service.')
    .option(...JSON_OPTION)
    .version(json ? JSON.stringify({ version }) : version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(json ? `${errorLine(json, text.replace(/^error: /, '').trim())}\n` : text),
      getOutHelpWidth: () => stdout.columns ?? HELP_WIDTH,
      getErrHelpWidth: () => stderr.columns ?? HELP_WIDTH,
    })
    .enablePositionalOptions()
    .addHelpText(
      'after',
      '\nExit status: 0 success, 1 failure (the reason is on standard error), 2 invalid usage.\nWith --json the reason is a JSON object as well: {"message": …}.',
    )
    .addHelpText(
      'after',
      examples(
        'scsp cpo add "Station Works" --base-url https://cpo.example',
        'scsp token issue --cpo "Station Works"',
        'scsp code issue --user user-1 --location home --json',
      ),
    );
  migrateCommand(program, shell);
  statusCommand(program, shell, version);
  cpoCommands(program, shell);
  tokenCommands(program, shell);
  codeCommands(program, shell);
  stationCommands(program, shell);
  userCommands(program, shell);
  outboxCommands(program, shell);
  eventCommands(program, shell);
  webhookCommands(program, shell);
  reEncryptCommand(program, shell);
  attemptCommands(program, shell);
  caseCommand(program, shell);
  auditCommands(program, shell);
  sandboxCpoCommand(program, shell);
  conformanceCommands(program, shell);
  return program;
}

/** Runs a command line, given without the name of the program, and returns the exit status. */
export async function run(args: readonly string[], shell: Shell): Promise<number> {
  const json = wantsJson(args);
  try {
    await createProgram(shell, json).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof EndedWith) {
      if (error.message !== '') shell.stderr.write(`${errorLine(json, error.message)}\n`);
      return error.status;
    }
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    shell.stderr.write(`${errorLine(json, reasonOf(error))}\n`);
    return REFUSED;
  }
}

/** The listeners stay until the process exits: a terminal and npm both deliver a Ctrl-C. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => controller.abort());
  return controller.signal;
}

if (require.main === module) {
  const shell = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, stopSignal };
  const args = process.argv.slice(2);
  ignoreOutputErrors();
  // A program that parses standard error must not find Node.js warnings in it.
  if (wantsJson(args)) process.removeAllListeners('warning');
  // Connections to a database that stopped responding would keep the process alive, so it is ended explicitly.
  void run(args, shell).then((code) => process.stderr.write('', () => process.exit(code)));
}
