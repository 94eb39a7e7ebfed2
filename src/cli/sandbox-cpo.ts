import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { createLog } from '../log';
import { readToken, whole } from './values';
import { answering, type Shell, verb } from './verb';

export function sandboxCpoCommand(program: Command, shell: Shell): void {
  verb(
    program,
    'sandbox-cpo',
    'runs a sandbox CPO backend until it is stopped',
    'scsp sandbox-cpo --port 3001',
    'echo "$TOKEN" | scsp sandbox-cpo --token-stdin',
  )
    .option('--port <N>', 'the port to listen on, loopback only', whole(0, 65_535), 3001)
    .option('--token-stdin', 'reads the token to accept from standard input instead of generating one')
    .action(
      answering(
        shell,
        async ({ config, stdin, stderr }, options: { port: number; tokenStdin?: true }) => {
          const token = options.tokenStdin ? await readToken(stdin) : randomBytes(32).toString('base64url');
          // Loaded on demand, so that other commands do not load a web server.
          const { startSandboxCpo } = await import('../sandbox/cpo.js');
          const { url } = await startSandboxCpo(options.port, token, createLog(config.logLevel, stderr));
          return { row: { url, token: options.tokenStdin ? undefined : token } };
        },
        untilStopped,
      ),
    );
}

/** Never resolves: the backend runs until a signal ends the process. */
const untilStopped = () => new Promise<void>(() => {});
