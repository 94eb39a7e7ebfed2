import type { Command } from 'commander';
import { type Config, readConfig } from '../config';
import { columns, fields, type Row } from './text';

export type Output = NodeJS.WritableStream & { readonly columns?: number; readonly isTTY?: boolean };

/** The environment and the streams of a command. */
export type Shell = {
  /** Defaults to the environment of this process. */
  readonly env?: NodeJS.ProcessEnv;
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: Output;
  readonly stderr: Output;
  /**
   * Returns a signal that aborts at SIGINT or SIGTERM, which then no longer end the process by themselves. For commands that
   * run until they are stopped.
   */
  stopSignal(): AbortSignal;
};

/** The first argument of the function that implements a verb. */
export type Given = Shell & {
  /** Read on first use: some commands need no settings. */
  readonly config: Config;
  /**
   * Prints the answer at once, so that a change can be rolled back when printing fails. The function then returns no
   * answer.
   */
  print(answer: Answer): Promise<void>;
  /** Writes a line to standard error. */
  warn(message: string): void;
};

/**
 * The output of a command: a row, or a list of rows with the columns of the table. JSON output has all members. `line`
 * and `textRows` replace rows for a person.
 */
export type Answer =
  | { row: Row; note?: string; line?: string }
  | { rows: readonly Row[]; textRows?: readonly Row[]; columns: readonly string[] };

/** Ends a command with an exit status. Without a message nothing more is printed: its answer says why. */
export class EndedWith extends Error {
  override readonly name = 'EndedWith';
  constructor(
    readonly status: number,
    message = '',
  ) {
    super(message);
  }
}

export const JSON_OPTION = ['--json', 'print the result as JSON'] as const;

/** Adds a noun, such as `scsp cpo`, which groups verbs. */
export function noun(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option(...JSON_OPTION);
}

/** Adds a verb to a noun or to the program. */
export function verb(parent: Command, name: string, description: string, ...lines: string[]): Command {
  return parent
    .command(name)
    .description(description)
    .option(...JSON_OPTION)
    .addHelpText('after', examples(...lines));
}

/** Adds a former name of a command, which help lists do not show. */
export function hiddenAlias(parent: Command, name: string, command: string): Command {
  return parent
    .command(name, { hidden: true })
    .description(`is the former name of \`${command}\``)
    .option(...JSON_OPTION)
    .addHelpText('after', examples(command));
}

/** Formats the examples of a help text. */
export function examples(...lines: string[]): string {
  return ['\nExamples:', ...lines.map((line) => `  $ ${line}`)].join('\n');
}

/** Creates the action of a verb: it reads the settings, runs `work` and prints the answer that `work` returns. */
export function answering<Args extends unknown[]>(
  shell: Shell,
  work: (given: Given, ...args: Args) => Promise<Answer | undefined>,
  afterwards: () => Promise<void> = async () => {},
) {
  return async function (this: Command, ...args: Args): Promise<void> {
    const { json } = this.optsWithGlobals<{ json?: true }>();
    const print = (answer: Answer) => write(shell.stdout, json ? jsonOf(answer) : textOf(answer));
    const warn = (message: string) => void shell.stderr.write(`${errorLine(json === true, message)}\n`);
    let config: Config | undefined;
    const given: Given = {
      ...shell,
      get config() {
        config ??= readConfig(shell.env);
        return config;
      },
      print,
      warn,
    };
    const answer = await work(given, ...args);
    if (answer) await print(answer);
    await afterwards();
  };
}

/** Formats a message for standard error. */
export const errorLine = (json: boolean, message: string) => (json ? JSON.stringify({ message }) : `scsp: ${message}`);

function jsonOf(answer: Answer): string {
  return JSON.stringify('rows' in answer ? answer.rows : answer.row);
}

function textOf(answer: Answer): string {
  if ('rows' in answer) return columns(answer.columns, answer.textRows ?? answer.rows);
  if (answer.line !== undefined) return answer.line;
  return answer.note === undefined ? fields(answer.row) : `${fields(answer.row)}\n\n${answer.note}`;
}

function write(stdout: Output, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stdout.write(`${text}\n`, (error) => (error ? reject(error) : resolve()));
  });
}
