import { EntitySchema } from 'typeorm';

export type OutboxRow = {
  id: string;
  pairingId: string | null;
  cpoId: string;
  payloadProtocol: string;
  uid: string | null;
  createdAt: Date;
  attempts: number;
  nextAttemptAt: Date;
  leasedUntil: Date | null;
  lastError: string | null;
  gaveUpAt: Date | null;
  requestId: string | null;
  traceparent: string | null;
};

export const outbox = new EntitySchema<OutboxRow>({
  name: 'outbox',
  columns: {
    id: {
      type: 'uuid',
      primary: true,
      primaryKeyConstraintName: 'outbox_pkey',
      // gen_random_uuid(): TypeORM does not accept it as an ordinary default.
      generated: 'uuid',
    },
    pairingId: { name: 'pairing_id', type: 'uuid', nullable: true },
    cpoId: { name: 'cpo_id', type: 'uuid' },
    payloadProtocol: { name: 'payload_protocol', type: 'text' },
    uid: { type: 'text', nullable: true },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    attempts: { type: 'integer', default: 0 },
    nextAttemptAt: { name: 'next_attempt_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    leasedUntil: { name: 'leased_until', type: 'timestamptz', precision: 3, nullable: true },
    lastError: { name: 'last_error', type: 'text', nullable: true },
    gaveUpAt: { name: 'gave_up_at', type: 'timestamptz', precision: 3, nullable: true },
    requestId: { name: 'request_id', type: 'text', nullable: true },
    traceparent: { type: 'text', nullable: true },
  },
  uniques: [{ name: 'outbox_pairing_id_key', columns: ['pairingId'] }],
  indices: [
    { name: 'outbox_due_idx', columns: ['cpoId', 'nextAttemptAt'], where: 'gave_up_at is null' },
    { name: 'outbox_gave_up_idx', columns: ['gaveUpAt'], where: 'gave_up_at is not null' },
    { name: 'outbox_leased_idx', columns: ['cpoId'], where: 'leased_until is not null' },
  ],
  foreignKeys: [
    {
      name: 'outbox_pairing_id_fkey',
      target: 'pairings',
      columnNames: ['pairingId'],
      referencedColumnNames: ['id'],
      onDelete: 'CASCADE',
    },
  ],
});
