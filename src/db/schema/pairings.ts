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
  endedBy: 'app' | 'cpo' | 'operator' | null;
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
    { name: 'pairings_active_user_idx', columns: ['userId', 'id'], where: 'ended_at is null and user_id is not null' },
    { name: 'pairings_active_cpo_idx', columns: ['cpoId', 'id'], where: 'ended_at is null and user_id is not null' },
    {
      name: 'pairings_test_cpo_idx',
      columns: ['cpoId', 'id'],
      where: 'user_id is null and station_uid is not null',
    },
    {
      name: 'pairings_ended_by_user_idx',
      columns: ['userId'],
      where: 'ended_at is not null and user_id is not null',
    },
    {
      name: 'pairings_ended_by_station_idx',
      columns: ['stationUid', 'endedAt', 'pairedAt'],
      where: 'ended_at is not null and station_uid is not null',
    },
    { name: 'pairings_ended_idx', columns: ['endedAt'], where: `ended_at > '-infinity'` },
  ],
  checks: [{ name: 'pairings_ended_by_check', expression: `ended_by in ('app', 'cpo', 'operator')` }],
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

export type RedemptionAttemptRow = { id: string; userHash: Buffer; beganAt: Date; outcome: string | null };

export const redemptionAttempts = new EntitySchema<RedemptionAttemptRow>({
  name: 'redemption_attempts',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'redemption_attempts_pkey' },
    userHash: { name: 'user_hash', type: 'bytea' },
    beganAt: { name: 'began_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    outcome: { type: 'text', nullable: true },
  },
  indices: [
    { name: 'redemption_attempts_user_hash_idx', columns: ['userHash', 'beganAt'] },
    { name: 'redemption_attempts_began_idx', columns: ['beganAt'] },
  ],
});

/** The arrays, `minute` and `halfHour` are what 0.1 counted. Replicas of 0.2.0 still read some of them. */
export type CpoTriesRow = {
  cpoId: string;
  wrongAt: Date[];
  wrongUid: string[];
  minute: string;
  rightByMinute: number[];
  halfHour: string;
  wrongByHalfHour: number[];
  rightByHalfHour: number[];
  failedCount: string;
  lastFailedAt: Date | null;
  limitCpoUid10Min: number | null;
  limitCpoUid24H: number | null;
  limitCpo10Min: number | null;
  limitCpo24H: number | null;
};

export const cpoTries = new EntitySchema<CpoTriesRow>({
  name: 'cpo_tries',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'cpo_tries_pkey' },
    wrongAt: { name: 'wrong_at', type: 'timestamptz', array: true, default: '{}' },
    wrongUid: { name: 'wrong_uid', type: 'text', array: true, default: '{}' },
    minute: { type: 'bigint', default: 0 },
    rightByMinute: { name: 'right_by_minute', type: 'integer', array: true, default: '{}' },
    halfHour: { name: 'half_hour', type: 'bigint', default: 0 },
    wrongByHalfHour: { name: 'wrong_by_half_hour', type: 'integer', array: true, default: '{}' },
    rightByHalfHour: { name: 'right_by_half_hour', type: 'integer', array: true, default: '{}' },
    failedCount: { name: 'failed_count', type: 'bigint', default: 0 },
    lastFailedAt: { name: 'last_failed_at', type: 'timestamptz', nullable: true },
    limitCpoUid10Min: { name: 'limit_cpo_uid_10min', type: 'integer', nullable: true },
    limitCpoUid24H: { name: 'limit_cpo_uid_24h', type: 'integer', nullable: true },
    limitCpo10Min: { name: 'limit_cpo_10min', type: 'integer', nullable: true },
    limitCpo24H: { name: 'limit_cpo_24h', type: 'integer', nullable: true },
  },
  foreignKeys: [
    {
      name: 'cpo_tries_cpo_id_fkey',
      target: 'cpos',
      columnNames: ['cpoId'],
      referencedColumnNames: ['id'],
      onDelete: 'CASCADE',
    },
  ],
});

export type FailedAttemptRow = { cpoId: string; failedAt: Date; seq: string; uidHash: Buffer; codeHash: Buffer };

const failedAttemptsKey = { primary: true, primaryKeyConstraintName: 'failed_attempts_pkey' } as const;

export const failedAttempts = new EntitySchema<FailedAttemptRow>({
  name: 'failed_attempts',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', ...failedAttemptsKey },
    failedAt: { name: 'failed_at', type: 'timestamptz', ...failedAttemptsKey },
    seq: { type: 'bigint', ...failedAttemptsKey },
    uidHash: { name: 'uid_hash', type: 'bytea' },
    codeHash: { name: 'code_hash', type: 'bytea' },
  },
  indices: [{ name: 'failed_attempts_uid_hash_idx', columns: ['uidHash', 'failedAt'] }],
});

export type AttemptRow = {
  id: string;
  cpoId: string;
  attemptedAt: Date;
  requestId: string;
  payloadProtocol: string;
  uid: string | null;
  outcome: string;
  detail: string | null;
  reason: string | null;
};

export const attempts = new EntitySchema<AttemptRow>({
  name: 'attempts',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'attempts_pkey' },
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'attempts_pkey' },
    attemptedAt: { name: 'attempted_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    requestId: { name: 'request_id', type: 'text' },
    payloadProtocol: { name: 'payload_protocol', type: 'text' },
    uid: { type: 'text', nullable: true },
    outcome: { type: 'text' },
    detail: { type: 'text', nullable: true },
    reason: { type: 'text', nullable: true },
  },
  indices: [
    // An expression index, which an entity cannot declare: lower(uid collate "C").
    { name: 'attempts_uid_key_idx', synchronize: false },
    { name: 'attempts_request_idx', columns: ['cpoId', 'requestId', 'id'] },
    { name: 'attempts_refused_idx', columns: ['cpoId', 'outcome', 'id'], where: `outcome <> 'paired'` },
  ],
});

export type IdempotencyKeyRow = {
  cpoId: string;
  path: string;
  key: string;
  bodyHash: Buffer;
  createdAt: Date;
  leaseUntil: Date;
  outcome: string | null;
  requestId: string;
  reservation: string | null;
  pairingId: string | null;
};

const idempotencyKeysKey = { primary: true, primaryKeyConstraintName: 'idempotency_keys_pkey' } as const;

export const idempotencyKeys = new EntitySchema<IdempotencyKeyRow>({
  name: 'idempotency_keys',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', ...idempotencyKeysKey },
    path: { type: 'text', ...idempotencyKeysKey },
    key: { type: 'text', ...idempotencyKeysKey },
    bodyHash: { name: 'body_hash', type: 'bytea' },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    leaseUntil: { name: 'lease_until', type: 'timestamptz', precision: 3 },
    outcome: { type: 'text', nullable: true },
    requestId: { name: 'request_id', type: 'text' },
    reservation: { type: 'uuid', nullable: true },
    pairingId: { name: 'pairing_id', type: 'uuid', nullable: true },
  },
  indices: [{ name: 'idempotency_keys_created_idx', columns: ['createdAt'] }],
});
