import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { Problem } from '../problems';

const PER_MINUTE = 10;

/** What is limited to 10 a minute for each app, with the words for a refusal. */
const LIMITED = {
  tested_at: 'The endpoints of this app were tested',
  changed_at: 'Endpoints of this app were enabled or disabled',
} as const;

/** Counts one more within the last minute, unless there are too many. */
const count = (column: keyof typeof LIMITED) => `
with app as (
  select array(select t from unnest(${column}) t where t > now() - interval '1 minute' order by t) as recent
  from webhook_limits where app_name = $1 for no key update
), counted as (
  update webhook_limits l set ${column} = a.recent || now()
  from app a where l.app_name = $1 and cardinality(a.recent) < ${PER_MINUTE}
  returning 1
)
select exists (select from counted) as allowed,
  ceil(extract(epoch from a.recent[1] + interval '1 minute' - now()))::int as "retryAfter"
from app a`;

type Counted = { readonly allowed: boolean; readonly retryAfter: number | null };

/**
 * Counts a test or a change of the status of an app's endpoint. The app's row stays locked until the end of the transaction.
 * @throws Problem `too-many-requests` after 10 within a minute
 */
export async function countForApp(
  tx: Pick<Database, 'query'>,
  app: string,
  column: keyof typeof LIMITED,
): Promise<void> {
  await rows(tx, 'insert into webhook_limits (app_name) values ($1) on conflict do nothing', [app]);
  // A statement of its own: it sees the row of a concurrent request.
  const [counted] = await rows<Counted>(tx, count(column), [app]);
  if (counted === undefined) throw new TypeError('an inserted row was not found');
  if (!counted.allowed)
    throw new Problem('too-many-requests', {
      message: `${LIMITED[column]} ${PER_MINUTE} times within a minute, please try again later.`,
      headers: { 'Retry-After': String(Math.max(1, counted.retryAfter ?? 1)) },
    });
}
