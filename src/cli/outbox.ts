import type { Command } from 'commander';
import { listOutbox, retryTelling } from '../outbox/outbox';
import { withContext } from './database';
import { answering, noun, type Shell, verb } from './verb';

export function outboxCommands(program: Command, shell: Shell): void {
  const outbox = noun(program, 'outbox', 'what CPOs have not been told yet');

  verb(outbox, 'list', 'lists unpairings that a CPO has not been told, the oldest first', 'scsp outbox list').action(
    answering(shell, (given) =>
      withContext(given, async ({ db }) => ({
        rows: (await listOutbox(db)).map((entry) => ({
          id: entry.pairingId,
          cpo_id: entry.cpoId,
          cpo: entry.cpoName,
          uid: entry.uid,
          created_at: entry.createdAt.toISOString(),
          attempts: entry.attempts,
          next_attempt_at: entry.gaveUpAt === null ? entry.nextAttemptAt.toISOString() : undefined,
          gave_up_at: entry.gaveUpAt?.toISOString(),
          last_error: entry.lastError ?? undefined,
        })),
        columns: ['id', 'cpo', 'uid', 'created_at', 'attempts', 'next_attempt_at', 'gave_up_at', 'last_error'],
      })),
    ),
  );

  verb(outbox, 'retry', 'tells again now, for seven more days', 'scsp outbox retry ID')
    .argument('<ID>', 'of `scsp outbox list`')
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => ({ row: { id: (await retryTelling(ctx, id)).pairingId } })),
      ),
    );
}
