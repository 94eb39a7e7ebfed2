import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { OperatorError } from '../problems';
import { type ReceivedHeaders, verifyWebhook } from '../webhooks/verify';
import { readWebhookSecret } from './values';
import { answering, type Shell, verb } from './verb';

type VerifyOptions = { secretStdin?: true; body: string; headers: string };

export function verifyCommand(webhook: Command, shell: Shell): void {
  const verify = verb(
    webhook,
    'verify',
    'says whether the signature of a received webhook is valid, and what is wrong if it is not',
    'echo "$SECRET" | scsp webhook verify --secret-stdin --body body.json --headers headers.txt',
  )
    .requiredOption('--secret-stdin', 'reads the secret of the endpoint (whsec_…) from standard input')
    .requiredOption('--body <FILE>', 'the raw body, byte for byte as it was received')
    .requiredOption('--headers <FILE>', 'the headers: lines "name: value", or a JSON object');
  verify.action(
    answering(shell, async ({ stdin }, { body, headers }: VerifyOptions) => {
      const read = (option: string, file: string) => {
        try {
          return readFileSync(file);
        } catch (error) {
          const { message }: { message?: unknown } = Object(error);
          return verify.error(`error: option '${option} <FILE>' cannot be read: ${message}`);
        }
      };
      const received = read('--body', body);
      const parsed = parseHeaders(read('--headers', headers).toString());
      if (parsed === undefined)
        return verify.error('error: option \'--headers <FILE>\' must contain lines "name: value", or a JSON object');
      const result = verifyWebhook(await readWebhookSecret(stdin), parsed, received, Date.now());
      if (!result.valid) throw new OperatorError(`the webhook is not valid: ${result.mistakes.join('\n')}`);
      return {
        row: { valid: true, webhook_id: result.id, age_seconds: result.ageSeconds },
        line: `the webhook ${result.id} is valid`,
      };
    }),
  );
}

/** Parses lines `name: value`, with or without the request line, or a JSON object as Node and Python print headers. */
function parseHeaders(text: string): ReceivedHeaders | undefined {
  const entries = text.trimStart().startsWith('{') ? jsonEntries(text) : lineEntries(text);
  return entries && new Map(entries.map(([name, value]) => [name.toLowerCase(), value.trim()]));
}

function jsonEntries(text: string): [string, string][] | undefined {
  try {
    return Object.entries(Object(JSON.parse(text))).map(([name, value]) => [name, String(value)]);
  } catch {
    return undefined;
  }
}

function lineEntries(text: string): [string, string][] | undefined {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !/^[A-Z]+ \S+ HTTP\/[\d.]+$/.test(line));
  const entries = lines.map((line) => /^\s*([\w-]+)\s*:(.*)$/.exec(line)?.slice(1));
  const pairs = entries.flatMap((entry): [string, string][] =>
    entry === undefined ? [] : [[entry[0] ?? '', entry[1] ?? '']],
  );
  return pairs.length === lines.length && lines.length > 0 ? pairs : undefined;
}
