import type { Command } from 'commander';
import { dropNotification, listOutbox, retryNotification } from '../outbox/outbox';
import { withContext } from './database';
import { answering, noun, type Shell, verb } from './verb';

export function outboxCommands(program: Command, shell: Shell): void {
  const outbox = noun(program, 'outbox', 'unpairings that CPOs have not been notified of yet');

  verb(
    outbox,
    'list',
    'lists unpairings that a CPO has not been notified of, the oldest first',
    'scsp outbox list',
  ).action(
    answering(shell, (given) =>
      withContext(given, async ({ db }) => ({
        rows: (await listOutbox(db)).map((entry) => ({
          id: entry.id,
          pairing_id: entry.pairingId ?? undefined,
          cpo_id: entry.cpoId,
          cpo: entry.cpoName,
          uid: entry.uid ?? undefined,
          request_id: entry.requestId ?? undefined,
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

  verb(outbox, 'retry', 'notifies again now, for seven more days', 'scsp outbox retry ID')
    .argument('<ID>', 'of `scsp outbox list`')
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => ({ row: { id: (await retryNotification(ctx, id)).id } })),
      ),
    );

  verb(outbox, 'drop', 'removes a notification, with the uid in it: the CPO is not notified', 'scsp outbox drop ID')
    .argument('<ID>', 'of `scsp outbox list`')
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => ({ row: { id: (await dropNotification(ctx, id)).id } })),
      ),
    );
}
