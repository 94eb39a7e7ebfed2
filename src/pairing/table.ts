import { EntitySchema } from 'typeorm';

export type PairingRow = {
  id: string;
  codeId: string | null;
  cpoId: string;
  stationUid: string | null;
  userId: string | null;
  chargingLocationId: string | null;
  pairedAt: Date;
  endedAt: Date | null;
  endedBy: 'app' | 'cpo' | null;
};

export const pairings = new EntitySchema<PairingRow>({
  name: 'pairings',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'pairings_pkey' },
    codeId: { name: 'code_id', type: 'uuid', nullable: true },
    cpoId: { name: 'cpo_id', type: 'uuid' },
    stationUid: { name: 'station_uid', type: 'text', nullable: true },
    userId: { name: 'user_id', type: 'text', nullable: true },
    chargingLocationId: { name: 'charging_location_id', type: 'text', nullable: true },
    pairedAt: { name: 'paired_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    endedAt: { name: 'ended_at', type: 'timestamptz', precision: 3, nullable: true },
    endedBy: { name: 'ended_by', type: 'text', nullable: true },
  },
  uniques: [{ name: 'pairings_code_id_key', columns: ['codeId'] }],
  indices: [
    {
      name: 'pairings_active_station_uid_key',
      columns: ['stationUid'],
      unique: true,
      where: 'ended_at is null',
    },
    { name: 'pairings_active_user_idx', columns: ['userId', 'id'], where: 'ended_at is null' },
    { name: 'pairings_user_idx', columns: ['userId'] },
  ],
  checks: [{ name: 'pairings_ended_by_check', expression: `ended_by in ('app', 'cpo')` }],
  foreignKeys: [
    {
      name: 'pairings_code_id_fkey',
      target: 'pairing_codes',
      columnNames: ['codeId'],
      referencedColumnNames: ['id'],
      onDelete: 'SET NULL',
    },
  ],
});

export type EventRow = {
  id: string;
  type: string;
  occurredAt: Date;
  codeId: string | null;
  pairingId: string | null;
  cpoId: string | null;
};

export const events = new EntitySchema<EventRow>({
  name: 'events',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'events_pkey' },
    type: { type: 'text' },
    occurredAt: { name: 'occurred_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    codeId: { name: 'code_id', type: 'uuid', nullable: true },
    pairingId: { name: 'pairing_id', type: 'uuid', nullable: true },
    cpoId: { name: 'cpo_id', type: 'uuid', nullable: true },
  },
});

export type RedemptionRow = { id: string; userId: string; triedAt: Date };

export const redemptions = new EntitySchema<RedemptionRow>({
  name: 'redemptions',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'redemptions_pkey' },
    userId: { name: 'user_id', type: 'text' },
    triedAt: { name: 'tried_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
  },
  indices: [{ name: 'redemptions_user_idx', columns: ['userId', 'triedAt'] }],
});
