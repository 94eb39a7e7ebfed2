import { randomUUID } from 'node:crypto';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli';
import type { Harness } from './harness';

export type AuditEntry = { actor: string; action: string; detail: Record<string, unknown> };
export type Ended = { code: number; stdout: string; stderr: string };

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Who the audit log says ran a command. */
export const ACTOR = userInfo().username;

/** A command of `scsp` in this process, with these settings and no others, and this on standard input. */
export async function command(
  settings: Record<string, string>,
  args: readonly string[],
  input: Iterable<string> = [],
): Promise<Ended> {
  const said = { stdout: '', stderr: '' };
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _encoding, done) {
        said[name] += chunk;
        done();
      },
    });
  const env = { DATA_DIR: join(tmpdir(), 'scsp-of-no-use'), ...settings };
  const stopSignal = () => new AbortController().signal;
  const shell = { env, stdin: Readable.from(input), stdout: into('stdout'), stderr: into('stderr'), stopSignal };
  return { code: await run(args, shell), ...said };
}

/** What a program reads: one JSON document, and nothing on standard error. */
export function document({ code, stdout, stderr }: Ended): any {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

export const refusal = (reason: string): Ended => ({ code: 1, stdout: '', stderr: `scsp: ${reason}\n` });
/** The same for a program, under `--json`. */
export const jsonRefusal = (message: string): Ended => ({
  code: 1,
  stdout: '',
  stderr: `${JSON.stringify({ message })}\n`,
});
export const wrongUsage = (words: string): Ended => ({
  code: 2,
  stdout: '',
  stderr: expect.stringContaining(words),
});

/** Commands with the settings of a service, which need not have started yet. */
export function commandsOf(service: () => Harness) {
  const settings = (): Record<string, string> => ({
    DATABASE_URL: service().databaseUrl,
    SECRET_KEY: service().config.secretKey ?? '',
    SANDBOX: String(service().config.sandbox),
  });
  const withInput = (args: readonly string[], input: Iterable<string>) => command(settings(), args, input);
  const scsp = (...args: string[]) => withInput(args, []);
  const json = async (...args: string[]) => document(await scsp(...args, '--json'));
  return {
    scsp,
    json,
    withInput,

    /** What a person reads: rows of cells, which stand at least two spaces apart. */
    async text(...args: string[]): Promise<string[][]> {
      const { code, stdout, stderr } = await scsp(...args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ {2,}/));
    },

    addCpo: (): Promise<{ id: string; name: string }> => json('cpo', 'add', `CPO ${randomUUID()}`),

    /** What was written into the audit log about somebody, the oldest first. */
    async audited(subject: string): Promise<AuditEntry[]> {
      const entries: (AuditEntry & { subject_id: string })[] = await json('audit', 'list', '--limit', '1000');
      return entries
        .filter(({ subject_id }) => subject_id === subject)
        .map(({ actor, action, detail }) => ({ actor, action, detail }))
        .toReversed();
    },

    /** Runs a command for each of these at once. */
    each: <T>(items: readonly T[], start: (item: T) => Promise<Ended>) => Promise.all(items.map(start)),
  };
}
