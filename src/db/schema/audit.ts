import { EntitySchema } from 'typeorm';

export type AuditRow = {
  id: string;
  happenedAt: Date;
  actor: string;
  action: string;
  subjectId: string;
  detail: object;
};

export const audit = new EntitySchema<AuditRow>({
  name: 'audit',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'audit_pkey' },
    happenedAt: { name: 'happened_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    actor: { type: 'text' },
    action: { type: 'text' },
    subjectId: { name: 'subject_id', type: 'uuid' },
    detail: { type: 'jsonb', default: {} },
  },
});
