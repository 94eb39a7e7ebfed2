import type { Command } from 'commander';
import { listPairings } from '../stations/stations';
import { withContext } from './database';
import { whole } from './values';
import { answering, noun, type Shell, verb } from './verb';

export function stationCommands(program: Command, shell: Shell): void {
  const station = noun(program, 'station', 'the stations that are paired');

  verb(
    station,
    'list',
    'lists paired stations, the latest first',
    'scsp station list',
    'scsp station list --limit 5 --json',
  )
    .option('--limit <N>', 'so many at most', whole(1, 1_000_000), 100)
    .action(
      answering(shell, (given, { limit }: { limit: number }) =>
        withContext(given, async ({ db }) => ({
          rows: (await listPairings(db, limit)).map((paired) => ({
            uid: paired.uid,
            cpo_id: paired.cpoId,
            user_id: paired.userId,
            charging_location_id: paired.chargingLocationId,
            payload_protocol: paired.payloadProtocol,
            paired_at: paired.pairedAt.toISOString(),
          })),
          columns: ['uid', 'cpo_id', 'user_id', 'charging_location_id', 'payload_protocol', 'paired_at'],
        })),
      ),
    );
}
