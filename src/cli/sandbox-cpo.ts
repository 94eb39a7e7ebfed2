import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { createLog } from '../log';
import { readToken, whole } from './values';
import { answering, type Shell, verb } from './verb';

type Options = { port: number; tokenStdin?: true; codes?: string; mutant?: string };

export function sandboxCpoCommand(program: Command, shell: Shell): void {
  const command = verb(
    program,
    'sandbox-cpo',
    'runs a sandbox CPO backend until it is stopped',
    'scsp sandbox-cpo --port 3001',
    'echo "$TOKEN" | scsp sandbox-cpo --token-stdin --codes codes.json',
  );
  command
    .option('--port <N>', 'the port to listen on, loopback only', whole(0, 65_535), 3001)
    .option('--token-stdin', 'reads the token to accept from standard input instead of generating one')
    .option('--codes <FILE>', 'writes codes of the sandbox CPO to a file, for scsp conformance cpo --codes')
    .option('--mutant <NAME>', 'breaks one rule: the one of this check (scsp conformance cpo --list)')
    .action(
      answering(
        shell,
        async ({ config, stdin, stderr }, options: Options) => {
          const token = options.tokenStdin ? await readToken(stdin) : randomBytes(32).toString('base64url');
          // Loaded on demand, so that other commands do not load a web server.
          const { startSandboxCpo } = await import('../sandbox/cpo.js');
          const { isMutantName, mutants } = await import('../sandbox/mutants.js');
          const { sandboxCodes } = await import('../sandbox/scenarios.js');
          const { mutant, codes } = options;
          if (mutant !== undefined && !isMutantName(mutant))
            return command.error(`error: option '--mutant <NAME>' must be one of ${Object.keys(mutants).join(', ')}`);
          const log = createLog(config.logLevel, stderr);
          const { url } = await startSandboxCpo(options.port, token, log, mutant === undefined ? {} : { mutant });
          if (codes !== undefined) writeFileSync(codes, `${JSON.stringify(sandboxCodes, null, 2)}\n`);
          return { row: { url, token: options.tokenStdin ? undefined : token } };
        },
        untilStopped,
      ),
    );
}

/** Never resolves: the backend runs until a signal ends the process. */
const untilStopped = () => new Promise<void>(() => {});
