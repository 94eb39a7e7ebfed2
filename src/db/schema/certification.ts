import { EntitySchema } from 'typeorm';

export type CertificationRunRow = {
  id: string;
  cpoId: string;
  status: string;
  startedAt: Date;
  endedAt: Date | null;
  leasedUntil: Date;
  done: number;
  total: number;
  report: object | null;
};

const time = { type: 'timestamptz', precision: 3 } as const;
const keyOf = (table: string) => ({ type: 'uuid', primary: true, primaryKeyConstraintName: `${table}_pkey` }) as const;
const ofCpo = (table: string) => ({
  name: `${table}_cpo_id_fkey`,
  target: 'cpos',
  columnNames: ['cpoId'],
  referencedColumnNames: ['id'],
  onDelete: 'CASCADE' as const,
});

/** Runs of the checks of CPOs' endpoints, in sandbox deployments. */
export const certificationRuns = new EntitySchema<CertificationRunRow>({
  name: 'certification_runs',
  columns: {
    cpoId: { name: 'cpo_id', ...keyOf('certification_runs') },
    id: keyOf('certification_runs'),
    status: { type: 'text', default: 'running' },
    startedAt: { name: 'started_at', ...time, default: () => 'now()' },
    endedAt: { name: 'ended_at', ...time, nullable: true },
    leasedUntil: { name: 'leased_until', ...time },
    done: { type: 'integer', default: 0 },
    total: { type: 'integer' },
    report: { type: 'jsonb', nullable: true },
  },
  indices: [{ name: 'certification_runs_running_idx', columns: ['cpoId'], unique: true, where: `status = 'running'` }],
  checks: [{ name: 'certification_runs_status_check', expression: `status in ('running', 'finished', 'interrupted')` }],
  foreignKeys: [ofCpo('certification_runs')],
});

export type CertificationResultRow = { cpoId: string; checkId: string; result: object; seenAt: Date };

/** The latest verdict of each check of a CPO's endpoint. */
export const certificationResults = new EntitySchema<CertificationResultRow>({
  name: 'certification_results',
  columns: {
    cpoId: { name: 'cpo_id', ...keyOf('certification_results') },
    checkId: { name: 'check_id', ...keyOf('certification_results'), type: 'text' },
    result: { type: 'jsonb' },
    seenAt: { name: 'seen_at', ...time },
  },
  foreignKeys: [ofCpo('certification_results')],
});

export type ObservedRequestRow = { id: string; cpoId: string; observedAt: Date; request: object };

/** The latest requests of each CPO of a sandbox deployment, for the checks of its caller. */
export const observedRequests = new EntitySchema<ObservedRequestRow>({
  name: 'observed_requests',
  columns: {
    cpoId: { name: 'cpo_id', ...keyOf('observed_requests') },
    id: keyOf('observed_requests'),
    observedAt: { name: 'observed_at', ...time },
    request: { type: 'jsonb' },
  },
  foreignKeys: [ofCpo('observed_requests')],
});
