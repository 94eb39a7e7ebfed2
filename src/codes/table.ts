import { EntitySchema } from 'typeorm';

export type CodeStatus = 'active' | 'used' | 'expired' | 'cancelled';

export type CodeRow = {
  id: string;
  hash: Buffer;
  length: number;
  userId: string | null;
  chargingLocationId: string | null;
  cpoId: string | null;
  status: CodeStatus;
  createdAt: Date;
  expiresAt: Date;
  endedAt: Date | null;
};

const active = `status = 'active'`;
const unpaired = `status in ('expired', 'cancelled')`;

export const pairingCodes = new EntitySchema<CodeRow>({
  name: 'pairing_codes',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'pairing_codes_pkey' },
    hash: { type: 'bytea' },
    length: { type: 'smallint' },
    userId: { name: 'user_id', type: 'text', nullable: true },
    chargingLocationId: { name: 'charging_location_id', type: 'text', nullable: true },
    cpoId: { name: 'cpo_id', type: 'uuid', nullable: true },
    status: { type: 'text', default: 'active' },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    expiresAt: { name: 'expires_at', type: 'timestamptz', precision: 3 },
    endedAt: { name: 'ended_at', type: 'timestamptz', precision: 3, nullable: true },
  },
  indices: [
    { name: 'pairing_codes_active_key', columns: ['length', 'hash'], unique: true, where: active },
    {
      name: 'pairing_codes_active_user_location_key',
      columns: ['userId', 'chargingLocationId'],
      unique: true,
      where: `${active} and user_id is not null`,
    },
    { name: 'pairing_codes_active_expiry_idx', columns: ['expiresAt'], where: `${active} and ended_at is null` },
    { name: 'pairing_codes_unpaired_idx', columns: ['endedAt'], where: unpaired },
    { name: 'pairing_codes_unpaired_user_idx', columns: ['userId'], where: unpaired },
    { name: 'pairing_codes_hash_created_idx', columns: ['hash', 'createdAt'] },
  ],
  checks: [
    {
      name: 'pairing_codes_status_check',
      expression: `status in ('active', 'used', 'expired', 'cancelled')`,
    },
  ],
  foreignKeys: [
    { name: 'pairing_codes_cpo_id_fkey', target: 'cpos', columnNames: ['cpoId'], referencedColumnNames: ['id'] },
  ],
});
