import { EntitySchema } from 'typeorm';

export type CallRow = {
  id: string;
  cpoId: string;
  calledAt: Date;
  operation: string;
  payloadProtocol: string;
  requestId: string;
  status: number | null;
  durationMs: number;
  outcome: string;
  errors: object | null;
};

const key = { primary: true, primaryKeyConstraintName: 'calls_pkey' } as const;

export const calls = new EntitySchema<CallRow>({
  name: 'calls',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', ...key },
    id: { type: 'uuid', ...key },
    calledAt: { name: 'called_at', type: 'timestamptz', precision: 3 },
    operation: { type: 'text' },
    payloadProtocol: { name: 'payload_protocol', type: 'text' },
    requestId: { name: 'request_id', type: 'text' },
    status: { type: 'integer', nullable: true },
    durationMs: { name: 'duration_ms', type: 'integer' },
    outcome: { type: 'text' },
    errors: { type: 'jsonb', nullable: true },
  },
  indices: [{ name: 'calls_request_idx', columns: ['cpoId', 'requestId', 'id'] }],
  checks: [{ name: 'calls_operation_check', expression: `operation in ('pair', 'unpair')` }],
  foreignKeys: [
    {
      name: 'calls_cpo_id_fkey',
      target: 'cpos',
      columnNames: ['cpoId'],
      referencedColumnNames: ['id'],
      onDelete: 'CASCADE',
    },
  ],
});
