import type { Command } from 'commander';
import { type Config, readConfig } from '../config';
import { columns, fields, type Row } from './text';

type Output = NodeJS.WritableStream & { readonly columns?: number };

/** What a shell gives a command beside its arguments. */
export type Shell = {
  /** The environment of this process unless given. */
  readonly env?: NodeJS.ProcessEnv;
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: Output;
  readonly stderr: Output;
};

/** What the work of a verb is given before its arguments. */
export type Given = Shell & {
  readonly config: Config;
  /** Prints the answer now, for work that must not be kept when that fails; it then returns none. */
  print(answer: Answer): Promise<void>;
};

/** One answer for people and programs: a row, or a list of rows with the columns that people see. */
export type Answer = { row: Row; note?: string } | { rows: readonly Row[]; columns: readonly string[] };

export const JSON_OPTION = ['--json', 'print one JSON document, for programs'] as const;

/** Adds a noun, such as `scsp cpo`, that verbs are added to. */
export function noun(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option(...JSON_OPTION);
}

/** Adds a verb, to a noun or to the program. */
export function verb(parent: Command, name: string, description: string, ...lines: string[]): Command {
  return parent
    .command(name)
    .description(description)
    .option(...JSON_OPTION)
    .addHelpText('after', examples(...lines));
}

export function examples(...lines: string[]): string {
  return ['\nExamples:', ...lines.map((line) => `  $ ${line}`)].join('\n');
}

/** The action of a verb: reads the settings, does the work, prints its answer unless the work has. */
export function answering<Args extends unknown[]>(
  shell: Shell,
  work: (given: Given, ...args: Args) => Promise<Answer | undefined>,
  afterwards: () => Promise<void> = async () => {},
) {
  return async function (this: Command, ...args: Args): Promise<void> {
    const { json } = this.optsWithGlobals<{ json?: true }>();
    const print = (answer: Answer) => write(shell.stdout, json ? jsonOf(answer) : textOf(answer));
    const answer = await work({ ...shell, config: readConfig(shell.env), print }, ...args);
    if (answer) await print(answer);
    await afterwards();
  };
}

function jsonOf(answer: Answer): string {
  return JSON.stringify('rows' in answer ? answer.rows : answer.row);
}

function textOf(answer: Answer): string {
  if ('rows' in answer) return columns(answer.columns, answer.rows);
  return answer.note === undefined ? fields(answer.row) : `${fields(answer.row)}\n\n${answer.note}`;
}

function write(stdout: Output, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stdout.write(`${text}\n`, (error) => (error ? reject(error) : resolve()));
  });
}
