import type { Command } from 'commander';
import { cpoIdOf } from '../cpos/cpos';
import { unpairByOperator } from '../pairing/unpair-by-operator';
import { listPairings } from '../stations/stations';
import { withContext } from './database';
import { whole } from './values';
import { answering, noun, type Shell, verb } from './verb';

export function stationCommands(program: Command, shell: Shell): void {
  const station = noun(program, 'station', 'manages paired stations');

  verb(
    station,
    'list',
    'lists paired stations, newest first',
    'scsp station list',
    'scsp station list --cpo "Station Works" --limit 5 --json',
  )
    .option('--cpo <CPO>', 'only those of one CPO, by id or name')
    .option('--limit <N>', 'the maximum number of rows', whole(1, 1_000_000), 100)
    .action(
      answering(shell, (given, { cpo, limit }: { cpo?: string; limit: number }) =>
        withContext(given, async ({ db }) => {
          const cpoId = cpo === undefined ? undefined : await cpoIdOf(db, cpo);
          return {
            rows: (await listPairings(db, limit, cpoId)).map((paired) => ({
              uid: paired.uid,
              cpo_id: paired.cpoId,
              user_id: paired.userId,
              charging_location_id: paired.chargingLocationId,
              payload_protocol: paired.payloadProtocol,
              paired_at: paired.pairedAt.toISOString(),
            })),
            columns: ['uid', 'cpo_id', 'user_id', 'charging_location_id', 'payload_protocol', 'paired_at'],
          };
        }),
      ),
    );

  verb(
    station,
    'unpair',
    'unpairs a station of any CPO at once and notifies the CPO',
    'scsp station unpair 5f69ad2c0ed5ca86d449cc93',
  )
    .argument('<UID>', 'its uid, as scsp station list shows it; case-insensitive')
    .action(
      answering(shell, (given, uid: string) =>
        withContext(given, async (ctx) => {
          const ended = await unpairByOperator(ctx, uid);
          return { row: { uid: ended.uid, cpo_id: ended.cpoId, pairing_id: ended.pairingId } };
        }),
      ),
    );
}
