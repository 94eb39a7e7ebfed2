import { userInfo } from 'node:os';
import type { Random } from '../crypto/random';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { AuditRow } from '../db/schema/audit';

/** Who changes things here: the person whom the operating system knows, on this machine. */
export function actor(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

/** What a verb needs whose change is written to the audit log. */
export type Audited = {
  /** The database, or a transaction on it. */
  readonly db: Pick<Database, 'query'>;
  readonly random: Random;
  /** Who makes the change. */
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
 * CTE `audited`: writes an entry of the audit log for each row of the CTE `changed (id, …)`, in the same commit. The statement's `$1` and `$2` are those of `auditParameters`.
 * @param detail SQL of a jsonb about `changed`: no secret, and no uid or user, for rows are never removed
 */
export const audited = (action: AuditAction, detail: string) => `audited as (
  insert into audit (id, actor, action, subject_id, detail) select $1, $2, '${action}', id, ${detail} from changed
)`;

/** The first two parameters of a statement with `audited`. */
export const auditParameters = ({ random, actor }: Audited) => [random.uuid(), actor] as const;

/** The audit log, or its entries with one action, the latest first. */
export function listAudit(db: Database, limit: number, action?: string): Promise<AuditRow[]> {
  return rows(
    db,
    `select id, happened_at as "happenedAt", actor, action, subject_id as "subjectId", detail
     from audit where $2::text is null or action = $2 order by id desc limit $1`,
    [limit, action ?? null],
  );
}
