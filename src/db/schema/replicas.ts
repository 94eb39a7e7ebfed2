import { EntitySchema } from 'typeorm';

export type ReplicaRow = {
  id: string;
  startedAt: Date;
  seenAt: Date;
  version: string;
  nodeVersion: string;
  host: string;
  state: object;
};

/** The state of each running process of the service, written by itself. */
export const replicas = new EntitySchema<ReplicaRow>({
  name: 'replicas',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'replicas_pkey' },
    startedAt: { name: 'started_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    seenAt: { name: 'seen_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    version: { type: 'text' },
    nodeVersion: { name: 'node_version', type: 'text' },
    host: { type: 'text' },
    state: { type: 'jsonb' },
  },
});
