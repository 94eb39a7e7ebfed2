import { userInfo } from 'node:os';
import { EntitySchema } from 'typeorm';
import type { Context } from '../context';
import { type Database, rows } from '../db/pool';

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

/** Who changes things here: the person whom the operating system knows, on this machine. */
export function actor(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

/** What a verb needs whose change goes into the trail. */
export type Audited = Pick<Context, 'chance'> & {
  /** The database, or a transaction on it. */
  readonly db: Pick<Database, 'query'>;
  readonly actor: string;
};

export type AuditAction =
  | 'cpo.add'
  | 'cpo.suspend'
  | 'cpo.resume'
  | 'cpo.calling'
  | 'cpo.calling-removed'
  | 'cpo.reseal'
  | 'cpo.limits'
  | 'cpo.limits-reset'
  | 'token.issue'
  | 'token.rotate'
  | 'token.revoke'
  | 'station.unpair'
  | 'outbox.retry'
  | 'outbox.drop'
  | 'user.forget';

/**
 * CTE `audited`: writes what the CTE `changed (id, …)` has changed into the trail, in the same commit; where nothing was
 * changed, nothing. The statement's `$1` and `$2` are those of `trailOf`.
 * @param detail SQL of a jsonb about `changed`: no secret, and no uid or user, for rows are never removed
 */
export const audited = (action: AuditAction, detail: string) => `audited as (
  insert into audit (id, actor, action, subject_id, detail) select $1, $2, '${action}', id, ${detail} from changed
)`;

/** The first two parameters of a statement with `audited`. */
export const trailOf = ({ chance, actor }: Audited) => [chance.uuid(), actor] as const;

/** The audit log, or its entries with one action, the latest first. */
export function listAudit(db: Database, limit: number, action?: string): Promise<AuditRow[]> {
  return rows(
    db,
    `select id, happened_at as "happenedAt", actor, action, subject_id as "subjectId", detail
     from audit where $2::text is null or action = $2 order by id desc limit $1`,
    [limit, action ?? null],
  );
}
