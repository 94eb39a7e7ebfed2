import type { Command } from 'commander';
import { dropNotification, listOutbox, retryNotification } from '../outbox/outbox';
import { withContext } from './database';
import { answering, noun, type Shell, verb } from './verb';

export function outboxCommands(program: Command, shell: Shell): void {
  const outbox = noun(program, 'outbox', 'manages notifications that CPOs have not received yet');

  verb(outbox, 'list', 'lists undelivered notifications of unpairings, oldest first', 'scsp outbox list').action(
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

  verb(outbox, 'retry', 'retries a notification now and for seven more days', 'scsp outbox retry ID')
    .argument('<ID>', 'its id, as scsp outbox list shows it')
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => ({ row: { id: (await retryNotification(ctx, id)).id } })),
      ),
    );

  verb(outbox, 'drop', 'deletes a notification, including its uid; the CPO is not notified', 'scsp outbox drop ID')
    .argument('<ID>', 'its id, as scsp outbox list shows it')
    .action(
      answering(shell, (given, id: string) =>
        withContext(given, async (ctx) => ({ row: { id: (await dropNotification(ctx, id)).id } })),
      ),
    );
}
