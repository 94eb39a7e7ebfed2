import type { Command } from 'commander';
import type { Config } from '../config';
import { Unreachable } from '../db/connection-errors';
import { requireDeployment } from '../db/deployment';
import { countPendingMigrations, NotMigrated } from '../db/migrate';
import { Problem } from '../problems';
import { databaseUnreachable, type Finding, findingsOf } from '../status/findings';
import { readStoredState } from '../status/read-stored-state';
import type { StoredState } from '../status/stored-state';
import { withDatabase } from './database';
import { reasonOf } from './reason';
import { statusJson, statusText } from './status-answer';
import { columns, fields } from './text';
import { answering, EndedWith, type Shell, verb } from './verb';

/** The exit status when something needs a person. */
const NEEDS_A_PERSON = 1;

export function statusCommand(program: Command, shell: Shell, version: string): void {
  verb(
    program,
    'status',
    'shows the state of the deployment, and what needs a person; exits with 1 if anything does',
    'scsp status',
    'scsp status --json',
  ).action(
    answering(shell, async (given) => {
      const { state, pending, findings } = await read(given.config);
      const row = { version, ...(pending !== undefined && { migrations_pending: pending }), findings };
      const head = `scsp ${version}`;
      if (pending !== undefined && pending > 0) {
        await given.print({ row, line: `${head}\n\n${fields({ migrations: `${pending} pending` })}` });
        throw new EndedWith(NEEDS_A_PERSON, new NotMigrated().message);
      }
      const text = [head, ...(state ? [statusText(state)] : []), findingsText(findings)].join('\n\n');
      await given.print({ row: state ? { ...row, ...statusJson(state) } : row, line: text });
      if (findings.length > 0) throw new EndedWith(NEEDS_A_PERSON);
      return undefined;
    }),
  );
}

type Status = {
  /** Undefined if the database cannot be read, or is not migrated to this version. */
  readonly state?: StoredState;
  /** The number of migrations; undefined if the database cannot be read. */
  readonly pending?: number;
  readonly findings: readonly Finding[];
};

/** Changes nothing, and migrates nothing. */
function read(config: Config): Promise<Status> {
  return withDatabase(config, async (db): Promise<Status> => {
    const pending = await countPendingMigrations(db);
    if (pending > 0) return { pending, findings: [] };
    await requireDeployment(db, config.sandbox);
    const state = await readStoredState({ db, config });
    return { state, pending, findings: findingsOf(state) };
  }).catch((error: unknown) => {
    const away = error instanceof Unreachable || (error instanceof Problem && error.type === 'unavailable');
    if (!away) throw error;
    return { findings: [databaseUnreachable(reasonOf(error))] };
  });
}

function findingsText(findings: readonly Finding[]): string {
  return findings.length === 0
    ? 'Nothing needs a person.'
    : columns(
        ['severity', 'finding', 'runbook'],
        findings.map(({ text, ...finding }) => ({ ...finding, finding: text })),
      );
}
