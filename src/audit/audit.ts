import { userInfo } from 'node:os';
import type { Random } from '../crypto/random';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { AuditRow } from '../db/schema/audit';

/** Returns the user name of the operating system, as the default for `actor`. */
export function actor(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

/** What a function needs that writes an audit entry with its change. */
export type Audited = {
  /** The database, or a transaction on it. */
  readonly db: Pick<Database, 'query'>;
  readonly random: Random;
  /** The operator or token that makes the change. */
  readonly actor: string;
};

/** Writes the audit entry of a change in the transaction of the change, if an operator makes it. */
export type WriteAudit = (tx: Audited['db']) => Promise<unknown>;

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
  | 'user.forget'
  | 'webhook.create'
  | 'webhook.change'
  | 'webhook.delete'
  | 'webhook.rotate-secret'
  | 'webhook.disable'
  | 'webhook.test'
  | 'webhook.redeliver'
  | 'webhook.re-encrypt';

/**
 * Returns the CTE `audited`, which writes an audit entry for each row of the CTE `changed (id, …)` in the same commit. The
 * parameters `$1` and `$2` of the statement must be those of `auditParameters`.
 * @param detail a jsonb expression over `changed`, without secrets, uids and users: audit entries are never deleted
 * @param condition which rows get an entry, all by default
 */
export const audited = (action: AuditAction, detail: string, condition = 'true') => `audited as (
  insert into audit (id, actor, action, subject_id, detail)
  select $1, $2, '${action}', id, ${detail} from changed where ${condition}
)`;

/** Returns the first two parameters of a statement with the CTE `audited`. */
export const auditParameters = ({ random, actor }: Audited) => [random.uuid(), actor] as const;

/** Returns audit entries, optionally only those with one action, the newest first. */
export function listAudit(db: Database, limit: number, action?: string): Promise<AuditRow[]> {
  return rows(
    db,
    `select id, happened_at as "happenedAt", actor, action, subject_id as "subjectId", detail
     from audit where $2::text is null or action = $2 order by id desc limit $1`,
    [limit, action ?? null],
  );
}
