#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { attemptCommands } from './cli/attempts';
import { auditCommands } from './cli/audit';
import { codeCommands } from './cli/code';
import { cpoCommands } from './cli/cpo';
import { migrateCommand } from './cli/migrate';
import { outboxCommands } from './cli/outbox';
import { reasonOf } from './cli/reason';
import { resealCommand } from './cli/reseal';
import { sandboxCpoCommand } from './cli/sandbox-cpo';
import { stationCommands } from './cli/station';
import { tokenCommands } from './cli/token';
import { userCommands } from './cli/user';
import { examples, JSON_OPTION, type Shell } from './cli/verb';
import { projectFile } from './contract/document';
import { ignoreOutputErrors } from './log';

const REFUSED = 1;
const USAGE = 2;
/** Of help that no terminal shows. */
const WIDTH = 80;

const { version }: { version: string } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));

/** Whether a program reads what is said, on standard error too. */
function wantsJson(args: readonly string[]): boolean {
  const json = args.indexOf('--json');
  const operands = args.indexOf('--');
  return json !== -1 && (operands === -1 || json < operands);
}

/** What is said on standard error, for people or for programs. */
const complaint = (json: boolean, message: string) => (json ? JSON.stringify({ message }) : `scsp: ${message}`);

function createProgram(shell: Shell, json: boolean): Command {
  const { stdout, stderr } = shell;
  const program = new Command('scsp')
    .description('Operates scsp-pairing, with the same settings (environment) as the service.')
    .option(...JSON_OPTION)
    .version(json ? JSON.stringify({ version }) : version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(json ? `${complaint(json, text.replace(/^error: /, '').trim())}\n` : text),
      getOutHelpWidth: () => stdout.columns ?? WIDTH,
      getErrHelpWidth: () => stderr.columns ?? WIDTH,
    })
    .enablePositionalOptions()
    .addHelpText(
      'after',
      '\nExit status: 0 done, 1 refused (the reason is on standard error), 2 wrong usage.\nWith --json the reason is a JSON object too, {"message": …}.',
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
  cpoCommands(program, shell);
  tokenCommands(program, shell);
  codeCommands(program, shell);
  stationCommands(program, shell);
  userCommands(program, shell);
  outboxCommands(program, shell);
  resealCommand(
    program,
    shell,
    'seals all that is sealed under the current SECRET_KEY, so that SECRET_KEY_PREVIOUS can go',
    'scsp reseal',
  );
  attemptCommands(program, shell);
  auditCommands(program, shell);
  sandboxCpoCommand(program, shell);
  return program;
}

/** Runs one command line, without the program's name; returns its exit status. */
export async function run(args: readonly string[], shell: Shell): Promise<number> {
  const json = wantsJson(args);
  try {
    await createProgram(shell, json).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    shell.stderr.write(`${complaint(json, reasonOf(error))}\n`);
    return REFUSED;
  }
}

if (require.main === module) {
  const shell = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr };
  const args = process.argv.slice(2);
  ignoreOutputErrors();
  // A program reads one reason on standard error, not the advice of drivers.
  if (wantsJson(args)) process.removeAllListeners('warning');
  // A database that went silent leaves connections that would keep the process.
  void run(args, shell).then((code) => process.stderr.write('', () => process.exit(code)));
}
