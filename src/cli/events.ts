import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { Agent } from 'undici';
import { readEnvironment } from '../config';
import { random } from '../crypto/random';
import { listEvents } from '../events/list-events';
import { OperatorError } from '../problems';
import { newWebhookSecret } from '../webhooks/signature';
import { secretMistake } from '../webhooks/verify';
import { withContext } from './database';
import { forwardEvents } from './events-forward';
import { untilStopped } from './stop';
import { isBearerToken, position, readWebhookSecret, whole } from './values';
import { answering, type Given, noun, type Shell, verb } from './verb';

type ListenOptions = { forwardTo: string; types?: string; after?: string; secretStdin?: true };

export function eventCommands(program: Command, shell: Shell): void {
  const events = noun(program, 'events', 'shows the events that apps follow, and forwards them to a local receiver');

  verb(
    events,
    'list',
    'lists the latest events of all types, or the first ones after a position; the oldest first',
    'scsp events list',
    'scsp events list --after 18231 --limit 10 --json',
  )
    .option('--after <N>', 'only events after this position', position)
    .option('--limit <N>', 'the maximum number of rows', whole(1, 1_000_000), 100)
    .action(
      answering(shell, (given, { after, limit }: { after?: string; limit: number }) =>
        withContext(given, async ({ db }) => ({
          rows: (await listEvents(db, limit, after)).map((event) => ({ ...event })),
          columns: ['position', 'timestamp', 'type', 'id', 'data'],
        })),
      ),
    );

  verb(
    events,
    'listen',
    'follows the events of SCSP_URL with the app token in SCSP_TOKEN (by default those of the sandbox) and delivers each, signed as a webhook, to a local receiver until it is stopped',
    'scsp events listen --forward-to http://localhost:8080/hook',
    'scsp events listen --forward-to http://localhost:8080/hook --types station.paired,station.unpaired',
    'echo "$SECRET" | scsp events listen --forward-to http://localhost:8080/hook --secret-stdin --json',
  )
    .requiredOption('--forward-to <URL>', 'the address of the receiver; http is allowed', receiverUrl)
    .option('--types <LIST>', 'only events of these types, comma-separated')
    .option('--after <N>', 'begin after this position instead of with new events', position)
    .option('--secret-stdin', 'reads the secret to sign with from standard input instead of generating one')
    .action(
      answering(shell, async (given, options: ListenOptions) => {
        const stop = given.stopSignal();
        await untilStopped(stop, listen(given, options, stop));
        return undefined;
      }),
    );
}

async function listen(given: Given, options: ListenOptions, stop: AbortSignal): Promise<void> {
  const { url, token } = readTarget(given);
  const secret = options.secretStdin ? await readSigningSecret(given) : newWebhookSecret(random);
  await given.print({ row: { secret }, line: `secret  ${secret}` });

  // Agents of their own, so that proxy settings of the environment do not apply.
  const service = new Agent();
  // Each delivery has a connection of its own: a receiver that restarts would close one that is kept open.
  const receiver = new Agent({ pipelining: 0 });
  try {
    await forwardEvents(
      given,
      { url, token, types: options.types, agent: service },
      { url: options.forwardTo, secret, agent: receiver },
      options.after ?? 'latest',
      stop,
    );
  } finally {
    await Promise.all([service.destroy(), receiver.destroy()]);
  }
}

/** Parses the URL of a receiver. */
function receiverUrl(text: string): string {
  const { username, password, hash } = httpUrl(text) ?? {};
  if (username === undefined) throw new InvalidArgumentError('It must be a URL that begins with http:// or https://.');
  if (username || password || hash) throw new InvalidArgumentError('It must have no user, password or fragment.');
  return text;
}

function httpUrl(text: string): URL | undefined {
  return /^https?:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
}

/**
 * Returns the service and the token to follow it with.
 * @throws OperatorError
 */
function readTarget(given: Given): { url: string; token: string } {
  const { SCSP_URL, SCSP_TOKEN } = readEnvironment(given.env);
  if (SCSP_URL && !SCSP_TOKEN)
    // The token of the sandbox must not reach another service.
    throw new OperatorError('SCSP_URL needs SCSP_TOKEN: set it to a token of scsp token issue --app NAME');
  const sandbox = SCSP_URL ? undefined : readSandbox(given.config.dataDir);
  const url = (SCSP_URL || sandbox?.url) ?? '';
  const token = (SCSP_TOKEN || sandbox?.token) ?? '';
  const { username, password, search, hash } = httpUrl(url) ?? {};
  if (username === undefined || username || password || search || hash)
    throw new OperatorError(
      'SCSP_URL must be a URL that begins with http:// or https://, without user, query and fragment',
    );
  if (!isBearerToken(token)) throw new OperatorError('SCSP_TOKEN must be one bearer token');
  return { url: url.replace(/\/+$/, ''), token };
}

/**
 * Reads the URL and the token of the app from `DATA_DIR/sandbox.json`.
 * @throws OperatorError
 */
function readSandbox(dataDir: string): { url: string; token: string } {
  const file = join(dataDir, 'sandbox.json');
  try {
    const { url, app } = JSON.parse(readFileSync(file, 'utf8'));
    return { url: String(url), token: String(app.token) };
  } catch {
    throw new OperatorError(
      `SCSP_URL and SCSP_TOKEN are not set, and ${file} cannot be read: set both, or start the sandbox (npm start)`,
    );
  }
}

/**
 * Reads a secret that a stock library accepts.
 * @throws OperatorError
 */
async function readSigningSecret({ stdin }: Given): Promise<string> {
  const secret = await readWebhookSecret(stdin);
  const mistake = secretMistake(secret);
  if (mistake !== undefined) throw new OperatorError(mistake);
  return secret;
}
