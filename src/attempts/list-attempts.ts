import type { Schemas } from '../contract/document';
import type { Database } from '../db/pool';
import { rowsInIndexOrder } from '../db/query';
import { type Attempt, COLUMNS } from './attempts';

export type AttemptOutcome = Schemas['AttemptOutcome'];

/** Which attempts to list; undefined members do not restrict the list. */
export type AttemptFilter = {
  /** Compared without regard to case. */
  readonly uid?: string | undefined;
  readonly requestId?: string | undefined;
  readonly outcome?: AttemptOutcome | undefined;
};

/** The condition of each filter on its value. A uid that is due for erasure is not found. */
const CONDITIONS: Readonly<Record<keyof AttemptFilter, (value: string) => string>> = {
  uid: (value) => `lower(a.uid collate "C") = lower(${value}::text collate "C")
    and not exists (select from erasures e where e.station_uid = lower(${value}::text collate "C"))`,
  requestId: (value) => `a.request_id = ${value}`,
  outcome: (value) => `a.outcome = ${value}`,
};
const FILTERS = ['uid', 'requestId', 'outcome'] as const;

/**
 * The most attempts that are read for a page. Without it a CPO could keep the database busy: it sends a million requests that
 * match one filter, and then asks for those that match another one, too.
 */
export const MAX_READ = 10_000;

type Query = readonly [sql: string, values: readonly unknown[]];

/**
 * Builds the queries of a page. The first filter has an index that ends with the id, so that attempts are read in the order of
 * the page; the other filters are applied to what was read. Attempts that paired have no index of their own, because every
 * pairing would have to write it: they are read by the primary key.
 * @returns the page, and the last attempt that may be read for it, if some that are read may not match
 */
export function attemptsPage(cpoId: string, before: string, limit: number, filter: AttemptFilter) {
  const given = FILTERS.filter((name) => filter[name] !== undefined);
  const indexed = given[0] === 'outcome' && filter.outcome === 'paired' ? [] : given.slice(0, 1);
  const others = given.slice(indexed.length);
  const conditions = (names: readonly (keyof AttemptFilter)[], first: number) =>
    names.map((name, index) => `and ${CONDITIONS[name](`$${first + index}`)}`).join(' ');
  const valuesOf = (names: readonly (keyof AttemptFilter)[]) => names.map((name) => filter[name]);

  const read = `select * from attempts a where a.cpo_id = $1 and a.id < $2 ${conditions(indexed, 3)} order by a.id desc`;
  const values = [cpoId, before, ...valuesOf(indexed)];
  const page: Query = [
    `select ${COLUMNS} from (${read} limit ${MAX_READ}) a
    where true ${conditions(others, values.length + 2)} order by a.id desc limit $${values.length + 1}`,
    [...values, limit, ...valuesOf(others)],
  ];
  const last: Query | undefined =
    others.length === 0 ? undefined : [`select id from (${read} offset ${MAX_READ - 1} limit 1) a`, values];
  return { page, last };
}

export type AttemptPage = {
  readonly attempts: Attempt[];
  /** The last attempt that was read, if there are fewer than asked for and there may be more. */
  readonly continueAfter: string | undefined;
};

/** Lists a CPO's attempts, newest first, with ids below `before`. Ids are UUIDv7 and sort by time. */
export async function listAttempts(
  db: Database,
  cpoId: string,
  before: string,
  limit: number,
  filter: AttemptFilter = {},
): Promise<AttemptPage> {
  const { page, last } = attemptsPage(cpoId, before, limit, filter);
  const attempts = await rowsInIndexOrder<Attempt>(db, ...page);
  if (last === undefined || attempts.length === limit) return { attempts, continueAfter: undefined };
  const [read] = await rowsInIndexOrder<{ id: string }>(db, ...last);
  return { attempts, continueAfter: read?.id };
}
