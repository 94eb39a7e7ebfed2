import { EntitySchema } from 'typeorm';

export type ErasureRow = { pairingId: string; stationUid: string; requestedAt: Date };

export const erasures = new EntitySchema<ErasureRow>({
  name: 'erasures',
  columns: {
    pairingId: { name: 'pairing_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'erasures_pkey' },
    stationUid: { name: 'station_uid', type: 'text', collation: 'C' },
    requestedAt: { name: 'requested_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
  },
  indices: [{ name: 'erasures_station_uid_idx', columns: ['stationUid'] }],
});
