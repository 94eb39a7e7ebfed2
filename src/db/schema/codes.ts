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
    {
      name: 'pairing_codes_active_hash_key',
      columns: ['length', 'hash'],
      unique: true,
      where: `${active} and length is not null`,
    },
    {
      name: 'pairing_codes_active_user_location_key',
      columns: ['userId', 'chargingLocationId'],
      unique: true,
      where: `${active} and user_id is not null`,
    },
    { name: 'pairing_codes_active_expiry_idx', columns: ['expiresAt'], where: `${active} and ended_at is null` },
    {
      name: 'pairing_codes_unpaired_ended_idx',
      columns: ['endedAt'],
      where: `${unpaired} and ended_at > '-infinity'`,
    },
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

export type CodeNeighbourRow = { key: string; codeId: string; expiresAt: Date };

/** Keyed hashes used to find active codes within one edit of a new one. Rows of expired codes are deleted. */
export const codeNeighbours = new EntitySchema<CodeNeighbourRow>({
  name: 'code_neighbours',
  columns: {
    key: { type: 'bigint', primary: true, primaryKeyConstraintName: 'code_neighbours_pkey' },
    codeId: { name: 'code_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'code_neighbours_pkey' },
    expiresAt: { name: 'expires_at', type: 'timestamptz', precision: 3 },
  },
  indices: [{ name: 'code_neighbours_expires_idx', columns: ['expiresAt'] }],
});

export type CodeNeighboursMissingRow = { onlyRow: boolean; until: Date };

/** The time until which codes without neighbour keys, issued by 0.1 replicas, may be active. */
export const codeNeighboursMissing = new EntitySchema<CodeNeighboursMissingRow>({
  name: 'code_neighbours_missing',
  columns: {
    onlyRow: {
      name: 'only_row',
      type: 'boolean',
      primary: true,
      primaryKeyConstraintName: 'code_neighbours_missing_pkey',
      default: true,
    },
    until: { type: 'timestamptz', precision: 3 },
  },
  checks: [{ name: 'code_neighbours_missing_only_row_check', expression: 'only_row' }],
});

export type IssuedCodeCountRow = { length: number; hour: number; issued: number };

export const issuedCodeCounts = new EntitySchema<IssuedCodeCountRow>({
  name: 'issued_code_counts',
  columns: {
    length: { type: 'smallint', primary: true, primaryKeyConstraintName: 'issued_code_counts_pkey' },
    hour: { type: 'integer', primary: true, primaryKeyConstraintName: 'issued_code_counts_pkey' },
    issued: { type: 'integer' },
  },
});

export type ActiveCodeCountRow = { length: number; active: number; countedAt: Date | null };

export const activeCodeCounts = new EntitySchema<ActiveCodeCountRow>({
  name: 'active_code_counts',
  columns: {
    length: { type: 'smallint', primary: true, primaryKeyConstraintName: 'active_code_counts_pkey' },
    active: { type: 'integer' },
    countedAt: { name: 'counted_at', type: 'timestamptz', nullable: true },
  },
});

export type UserCodeIssueRow = { userHash: Buffer; id: string; issuedAt: Date };

export const userCodeIssues = new EntitySchema<UserCodeIssueRow>({
  name: 'user_code_issues',
  columns: {
    userHash: {
      name: 'user_hash',
      type: 'bytea',
      primary: true,
      primaryKeyConstraintName: 'user_code_issues_pkey',
    },
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'user_code_issues_pkey' },
    issuedAt: { name: 'issued_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
  },
  indices: [{ name: 'user_code_issues_expiry_idx', columns: ['issuedAt'], where: `issued_at > '-infinity'` }],
});
