import { EntitySchema } from 'typeorm';

export type OutboxRow = {
  pairingId: string;
  cpoId: string;
  payloadProtocol: string;
  uid: string;
  createdAt: Date;
  attempts: number;
  nextAttemptAt: Date;
  lastError: string | null;
  gaveUpAt: Date | null;
};

export const outbox = new EntitySchema<OutboxRow>({
  name: 'outbox',
  columns: {
    pairingId: { name: 'pairing_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'outbox_pkey' },
    cpoId: { name: 'cpo_id', type: 'uuid' },
    payloadProtocol: { name: 'payload_protocol', type: 'text' },
    uid: { type: 'text' },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    attempts: { type: 'integer', default: 0 },
    nextAttemptAt: { name: 'next_attempt_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    lastError: { name: 'last_error', type: 'text', nullable: true },
    gaveUpAt: { name: 'gave_up_at', type: 'timestamptz', precision: 3, nullable: true },
  },
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
