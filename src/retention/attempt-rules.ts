import { KEEP_HOURS } from '../pairing/idempotency';
import { oldestOfEachCpo, type RetentionRule } from './rule';

/** Limits the attempts kept per CPO and uid; the newest are kept. */
const ATTEMPTS_KEPT_PER_UID = 100;
/** Sets how many of each CPO's newest attempts are searched for uids that are sent repeatedly. */
const SAMPLE_SIZE = 200;

/**
 * Attempts beyond the newest of a CPO and uid: a CPO that repeats a rejected request every ten seconds makes 260,000 a month. A uid
 * with a share r of its CPO's attempts is in the sample with a probability of at least r, which bounds the backlog whatever the
 * CPO's request rate.
 */
const REPEATED = (limit: number) => `
select beyond.ctid
from (
  select distinct c.id as cpo_id, lower(recent.uid collate "C") as uid
  from cpos c cross join lateral (
    select uid, outcome from attempts where cpo_id = c.id order by id desc limit ${SAMPLE_SIZE}
  ) recent
  where recent.outcome <> 'paired' and recent.uid is not null
) sample cross join lateral (
  select a.ctid from attempts a
  where lower(a.uid collate "C") = sample.uid and a.cpo_id = sample.cpo_id
  order by a.id desc offset ${ATTEMPTS_KEPT_PER_UID} limit ${limit}
) beyond
limit ${limit}`;

/** Failed attempts that no limit counts any more: older than the longest window plus an hour. */
const FAILED_ATTEMPTS = (limit: number) => `
select f.ctid from cpos c cross join lateral (
  select ctid from failed_attempts
  where cpo_id = c.id and failed_at < now() - interval '25 hours' order by failed_at limit ${limit}
) f
limit ${limit}`;

const IDEMPOTENCY_KEYS = (limit: number) => `
select ctid from idempotency_keys
where created_at < now() - interval '${KEEP_HOURS} hours' order by created_at limit ${limit}`;

/** Runs of the checks of CPOs' endpoints, in a sandbox, but of each CPO not the latest that has finished. */
const CERTIFICATION_RUNS = (limit: number) => `
select r.ctid from certification_runs r
where r.started_at < now() - interval '7 days' and r.id is distinct from (
  select id from certification_runs where cpo_id = r.cpo_id and status = 'finished' order by id desc limit 1)
limit ${limit}`;

/** What CPOs sent to us, and we to them. */
export const ATTEMPT_RULES: readonly RetentionRule[] = [
  {
    name: 'attempts',
    table: 'attempts',
    due: oldestOfEachCpo('attempts', 'attempted_at', 'make_interval(days => $1)'),
    keepDays: ({ attemptsKeepDays }) => attemptsKeepDays,
  },
  { name: 'repeated attempts', table: 'attempts', due: REPEATED },
  { name: 'calls', table: 'calls', due: oldestOfEachCpo('calls', 'called_at', `interval '7 days'`) },
  { name: 'failed attempts', table: 'failed_attempts', due: FAILED_ATTEMPTS },
  { name: 'idempotency keys', table: 'idempotency_keys', due: IDEMPOTENCY_KEYS },
  {
    name: 'observed requests',
    table: 'observed_requests',
    due: oldestOfEachCpo('observed_requests', 'observed_at', `interval '7 days'`),
  },
  { name: 'runs of checks', table: 'certification_runs', due: CERTIFICATION_RUNS },
];
