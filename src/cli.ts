#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { codeCommands } from './cli/code';
import { cpoCommands } from './cli/cpo';
import { migrateCommand } from './cli/migrate';
import { outboxCommands } from './cli/outbox';
import { reasonOf } from './cli/reason';
import { sandboxCpoCommand } from './cli/sandbox-cpo';
import { stationCommands } from './cli/station';
import { tokenCommands } from './cli/token';
import { examples, JSON_OPTION } from './cli/verb';

const REFUSED = 1;
const USAGE = 2;

function createProgram(): Command {
  const program = new Command('scsp')
    .description('Operates scsp-pairing, with the same settings (environment) as the service.')
    .option(...JSON_OPTION)
    .exitOverride()
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
  migrateCommand(program);
  cpoCommands(program);
  tokenCommands(program);
  codeCommands(program);
  stationCommands(program);
  outboxCommands(program);
  sandboxCpoCommand(program);
  return program;
}

async function run(args: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    process.stderr.write(`scsp: ${reasonOf(error)}\n`);
    return REFUSED;
  }
}

// A failed write is reported by the one who wrote; unheard, the event would end the process with a stack.
process.stdout.on('error', () => {});
// A database that went silent leaves connections that would keep the process.
void run(process.argv.slice(2)).then((code) => process.stderr.write('', () => process.exit(code)));
