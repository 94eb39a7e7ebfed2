import type { Command } from 'commander';
import { listAudit } from '../audit/audit';
import { withContext } from './database';
import { whole } from './values';
import { answering, noun, type Shell, verb } from './verb';

export function auditCommands(program: Command, shell: Shell): void {
  const audit = noun(program, 'audit', 'shows the audit log: changes by operators, and erasures of users');

  verb(audit, 'list', 'lists audit entries, newest first', 'scsp audit list', 'scsp audit list --limit 5 --json')
    .option('--action <ACTION>', 'only those with this action, such as user.forget')
    .option('--limit <N>', 'the maximum number of rows', whole(1, 1_000_000), 100)
    .action(
      answering(shell, (given, { action, limit }: { action?: string; limit: number }) =>
        withContext(given, async ({ db }) => ({
          rows: (await listAudit(db, limit, action)).map((change) => ({
            id: change.id,
            happened_at: change.happenedAt.toISOString(),
            actor: change.actor,
            action: change.action,
            subject_id: change.subjectId,
            detail: change.detail,
          })),
          columns: ['happened_at', 'actor', 'action', 'subject_id', 'detail'],
        })),
      ),
    );
}
