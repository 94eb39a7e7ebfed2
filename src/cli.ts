#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { attemptCommands } from './cli/attempts';
import { auditCommands } from './cli/audit';
import { codeCommands } from './cli/code';
import { cpoCommands } from './cli/cpo';
import { migrateCommand } from './cli/migrate';
import { outboxCommands } from './cli/outbox';
import { reasonOf } from './cli/reason';
import { sandboxCpoCommand } from './cli/sandbox-cpo';
import { stationCommands } from './cli/station';
import { tokenCommands } from './cli/token';
import { examples, JSON_OPTION, type Shell } from './cli/verb';

const REFUSED = 1;
const USAGE = 2;
/** Of help that no terminal shows. */
const WIDTH = 80;

function createProgram(shell: Shell): Command {
  const { stdout, stderr } = shell;
  const program = new Command('scsp')
    .description('Operates scsp-pairing, with the same settings (environment) as the service.')
    .option(...JSON_OPTION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      getOutHelpWidth: () => stdout.columns ?? WIDTH,
      getErrHelpWidth: () => stderr.columns ?? WIDTH,
    })
    .enablePositionalOptions()
    .addHelpText('after', '\nExit status: 0 done, 1 refused (the reason is on standard error), 2 wrong usage.')
    .addHelpText(
      'after',
      examples(
        'scsp cpo add "Station Works" --base-url https://cpo.example',
        'scsp token issue --cpo 0197a0c4-6f6e-7b52-8d3c-2f1f0f4a9b11',
        'scsp code issue --user user-1 --location home --json',
      ),
    );
  migrateCommand(program, shell);
  cpoCommands(program, shell);
  tokenCommands(program, shell);
  codeCommands(program, shell);
  stationCommands(program, shell);
  outboxCommands(program, shell);
  attemptCommands(program, shell);
  auditCommands(program, shell);
  sandboxCpoCommand(program, shell);
  return program;
}

/** Runs one command line, without the program's name; returns its exit status. */
export async function run(args: readonly string[], shell: Shell): Promise<number> {
  try {
    await createProgram(shell).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    shell.stderr.write(`scsp: ${reasonOf(error)}\n`);
    return REFUSED;
  }
}

if (require.main === module) {
  const shell = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr };
  // Who reads a failed write's result has heard of it; unheard, the event would end the process with a stack.
  for (const output of [shell.stdout, shell.stderr]) output.on('error', () => {});
  // A database that went silent leaves connections that would keep the process.
  void run(process.argv.slice(2), shell).then((code) => process.stderr.write('', () => process.exit(code)));
}
