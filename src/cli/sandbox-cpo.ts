import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { createLog } from '../log';
import { readToken, whole } from './values';
import { answering, type Shell, verb } from './verb';

export function sandboxCpoCommand(program: Command, shell: Shell): void {
  verb(
    program,
    'sandbox-cpo',
    "runs a CPO's backend to integrate against, until stopped",
    'scsp sandbox-cpo --port 3001',
    'echo "$TOKEN" | scsp sandbox-cpo --token-stdin',
  )
    .option('--port <N>', 'where it listens, on loopback only', whole(0, 65_535), 3001)
    .option('--token-stdin', 'reads the token that it takes from standard input; else it makes one')
    .action(
      answering(
        shell,
        async ({ config, stdin, stderr }, options: { port: number; tokenStdin?: true }) => {
          const token = options.tokenStdin ? await readToken(stdin) : randomBytes(32).toString('base64url');
          // Loaded when asked for: other commands need not wait for a web server.
          const { startSandboxCpo } = await import('../sandbox/cpo.js');
          const { url } = await startSandboxCpo(options.port, token, createLog(config.logLevel, stderr));
          return { row: { url, token: options.tokenStdin ? undefined : token } };
        },
        untilStopped,
      ),
    );
}

/** Whoever asked goes on when it has read where the backend is; the backend goes on until a signal ends the process. */
const untilStopped = () => new Promise<void>(() => {});
