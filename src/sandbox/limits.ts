import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { Counts } from '../delivery/counts';
import { Problem } from '../problems';

const PER_MINUTE = 10;
/**
 * Limited by the day, too: what is written to the audit log, whose entries are never deleted, and what makes this service ask a
 * server whether it wants to be called.
 */
const PER_DAY = 100;
const LIMITED_BY_DAY: ReadonlySet<string> = new Set(['endpoint_at', 'run_at']);

/** What is limited for each CPO of a sandbox deployment, with the words for a refusal. */
const LIMITED = {
  endpoint_at: 'The endpoint of this CPO was set',
  redemption_at: 'Codes of this CPO were redeemed',
  unpair_at: 'Stations of this CPO were unpaired',
  run_at: 'Runs of the checks of this CPO were started',
} as const;

/** Counts one more, unless there are too many within the last minute or, of some, the last day. */
const count = (column: keyof typeof LIMITED) => `
with cpo as (
  select array(select t from unnest(${column}) t where t > now() - interval '1 day' order by t desc limit ${PER_DAY}) as recent
  from sandbox_limits where cpo_id = $1 for no key update
), blocking as (
  select greatest(recent[${PER_MINUTE}] + interval '1 minute'
    ${LIMITED_BY_DAY.has(column) ? `, recent[${PER_DAY}] + interval '1 day'` : ''}) as until
  from cpo
), counted as (
  update sandbox_limits l set ${column} = now() || c.recent
  from cpo c, blocking b where l.cpo_id = $1 and (b.until is null or b.until <= now())
  returning 1
)
select exists (select from counted) as allowed, ceil(extract(epoch from b.until - now()))::int as "retryAfter" from blocking b`;

/**
 * Counts what a CPO of a sandbox deployment does, for all replicas.
 * @throws Problem `too-many-requests` after 10 within a minute or, of some, 100 within a day
 */
export async function countForCpo(
  db: Pick<Database, 'query'>,
  cpoId: string,
  column: keyof typeof LIMITED,
): Promise<void> {
  await rows(db, 'insert into sandbox_limits (cpo_id) values ($1) on conflict do nothing', [cpoId]);
  const [counted] = await rows<{ allowed: boolean; retryAfter: number | null }>(db, count(column), [cpoId]);
  if (counted?.allowed) return;
  throw new Problem('too-many-requests', {
    message: `${LIMITED[column]} too often: at most ${PER_MINUTE} a minute${LIMITED_BY_DAY.has(column) ? ` and ${PER_DAY} a day` : ''}. Please try again later.`,
    headers: { 'Retry-After': String(Math.max(1, counted?.retryAfter ?? 1)) },
  });
}

/** Lets one operation of a CPO run at a time in this process. */
export class OneAtATime {
  readonly #running = new Counts();

  /** @throws Problem `too-many-requests` while another one is running */
  async run<T>(cpoId: string, work: () => Promise<T>): Promise<T> {
    if (this.#running.of(cpoId) > 0)
      throw new Problem('too-many-requests', {
        message: 'Another test of this CPO is still running, please try again.',
        headers: { 'Retry-After': '1' },
      });
    return this.#running.during(cpoId, work);
  }
}
