import type { Command } from 'commander';
import { latestAttempts, statusOf } from '../attempts/attempts';
import { cpoIdOf } from '../cpos/cpos';
import { withContext } from './database';
import { whole } from './values';
import { answering, noun, type Shell, verb } from './verb';

export function attemptCommands(program: Command, shell: Shell): void {
  const attempts = noun(program, 'attempts', 'shows the pairing attempts of CPOs and their outcomes');

  verb(
    attempts,
    'list',
    'lists pairing attempts, newest first',
    'scsp attempts list --limit 20',
    'scsp attempts list --cpo "Station Works" --json',
  )
    .option('--cpo <CPO>', 'only those of one CPO, by id or name')
    .option('--limit <N>', 'the maximum number of rows', whole(1, 1_000_000), 100)
    .action(
      answering(shell, (given, { cpo, limit }: { cpo?: string; limit: number }) =>
        withContext(given, async ({ db }) => ({
          rows: (await latestAttempts(db, cpo === undefined ? undefined : await cpoIdOf(db, cpo), limit)).map(
            (attempt) => ({
              id: attempt.id,
              cpo_id: attempt.cpoId,
              attempted_at: attempt.attemptedAt.toISOString(),
              request_id: attempt.requestId,
              payload_protocol: attempt.payloadProtocol,
              uid: attempt.uid ?? undefined,
              outcome: attempt.outcome,
              status: statusOf(attempt),
              reason: attempt.reason ?? undefined,
              detail: attempt.detail ?? undefined,
            }),
          ),
          columns: [
            'attempted_at',
            'cpo_id',
            'payload_protocol',
            'uid',
            'status',
            'outcome',
            'reason',
            'request_id',
            'detail',
          ],
        })),
      ),
    );
}
