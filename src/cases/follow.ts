import type { StoredCall } from '../calls/calls';
import { rows } from '../db/query';
import type { OutboxEntry } from '../outbox/outbox';
import { atMost, type Case, type CaseContext, MOST } from './found';
import { idsBetween } from './id-range';

export type CaseEvent = {
  readonly id: string;
  readonly type: string;
  readonly occurredAt: Date;
  readonly position: string | null;
  readonly publishedAt: Date | null;
  readonly codeId: string | null;
  readonly pairingId: string | null;
  readonly cpoId: string | null;
  readonly reason: string | null;
  readonly replacedBy: string | null;
};

export type CaseDelivery = {
  readonly app: string;
  readonly endpointId: string;
  readonly position: string;
  readonly status: string;
  readonly attempts: number;
  readonly lastStatus: number | null;
  readonly lastError: string | null;
};

export type CaseNotification = Omit<OutboxEntry, 'cpoName' | 'payloadProtocol'>;
export type CaseCall = Pick<StoredCall, 'calledAt' | 'operation' | 'requestId' | 'status' | 'outcome'> & {
  readonly cpoId: string;
};

/** What followed from the codes and pairings of a case. */
export type Followed = {
  readonly events: readonly CaseEvent[];
  readonly deliveries: readonly CaseDelivery[];
  readonly notifications: readonly CaseNotification[];
  readonly calls: readonly CaseCall[];
};

/** Events of a page, and how many pages are searched: no index leads from a code or pairing to its events. */
const SEARCHED = 10_000;
const PAGES = 50;

const EVENT = `json_build_object('id', e.id, 'type', e.type, 'occurredAt', e.occurred_at, 'position', e.position::text,
  'publishedAt', e.published_at, 'codeId', e.code_id, 'pairingId', e.pairing_id, 'cpoId', e.cpo_id, 'reason', e.reason,
  'replacedBy', e.replaced_by)`;
const ABOUT = '(e.pairing_id = any ($1) or e.code_id = any ($2))';
const PUBLISHED = `
with page as materialized (
  select * from events where position < $3 order by position desc limit ${SEARCHED}
)
select (select position from page order by position limit 1) as first,
  (select published_at from page order by position limit 1) as at,
  array(select ${EVENT} from page e where ${ABOUT} order by e.position desc limit ${MOST + 1}) as found`;
const UNPUBLISHED = `
select array(select ${EVENT} from events e where e.position is null and e.seq is not null and ${ABOUT} limit ${MOST + 1}) as found`;
const BEYOND_THE_END = '9223372036854775807';

type EventPage = { first: string | null; at: Date | null; found: CaseEvent[] };

/** Searches the events back to the beginning of the case, the latest first. */
async function eventsOf({ db }: CaseContext, found: Case): Promise<CaseEvent[]> {
  const about = [found.pairings.map(({ id }) => id), found.codes.map(({ id }) => id)];
  if (about.flat().length === 0) return [];
  const began = Math.min(
    ...found.codes.map(({ createdAt }) => createdAt.getTime()),
    ...found.pairings.map(({ pairedAt }) => pairedAt.getTime()),
  );
  const events = (await rows<EventPage>(db, UNPUBLISHED, about))[0]?.found ?? [];
  let before: string | null = BEYOND_THE_END;
  for (let n = 0; before !== null && events.length <= MOST; n++) {
    if (n === PAGES) {
      found.leftOut.add('events');
      break;
    }
    const [page]: EventPage[] = await rows<EventPage>(db, PUBLISHED, [...about, before]);
    events.push(...(page?.found ?? []));
    before = page?.at != null && page.at.getTime() >= began ? page.first : null;
  }
  const dated = events.map((event) => ({
    ...event,
    occurredAt: new Date(event.occurredAt),
    publishedAt: event.publishedAt && new Date(event.publishedAt),
  }));
  return atMost(dated, 'events', found.leftOut);
}

const DELIVERIES = `
select w.app_name as app, d.endpoint_id as "endpointId", d.position, d.status, d.attempts, d.last_status as "lastStatus",
  d.last_error as "lastError"
from webhook_endpoints w join webhook_deliveries d on d.endpoint_id = w.id and d.position = any ($1)
order by d.position desc limit ${MOST + 1}`;

const NOTIFICATIONS = `
select id, pairing_id as "pairingId", cpo_id as "cpoId", uid, created_at as "createdAt", attempts,
  next_attempt_at as "nextAttemptAt", last_error as "lastError", gave_up_at as "gaveUpAt", request_id as "requestId"
from outbox where pairing_id = any ($1) or request_id = $2 order by created_at desc limit ${MOST + 1}`;

const CALL = `c.cpo_id as "cpoId", c.called_at as "calledAt", c.operation, c.request_id as "requestId", c.status, c.outcome`;
const CALLS_OF_REQUEST = `
select ${CALL} from cpos o join calls c on c.cpo_id = o.id and c.request_id = $1 order by c.id desc limit ${MOST + 1}`;
/** Calls are stored without a uid: these are those of the CPO, or of any, at the time. */
const CALLS_AT = `
select distinct ${CALL}
from jsonb_to_recordset($1::jsonb) w (
  cpo_id uuid, operation text, from_at timestamptz, until_at timestamptz, from_id uuid, until_id uuid)
join cpos o on w.cpo_id is null or o.id = w.cpo_id
cross join lateral (
  select * from calls where cpo_id = o.id and id between w.from_id and w.until_id and operation = w.operation
    and called_at between w.from_at and w.until_at
  order by id desc limit ${MOST + 1}
) c
order by "calledAt" desc limit ${MOST + 1}`;
/** How long a call can take. */
const CALL_MS = 10_000;
/** After every call. */
const LATER = new Date('2200-01-01T00:00:00Z');

/** Returns when the CPO was called: to redeem a code before its pairing, to be notified after its end. */
function callTimes(found: Case, events: readonly CaseEvent[], waiting: readonly CaseNotification[]) {
  const between = (cpoId: string | null, operation: string, from: Date, until: Date) => ({
    ...{ cpo_id: cpoId, operation, from_at: from, until_at: until },
    ...idsBetween(from, until),
  });
  const later = (at: Date, ms: number) => new Date(at.getTime() + ms);
  const redeemed = found.pairings
    .filter(({ codeId }) => codeId === null)
    .map(({ cpoId, pairedAt }) => between(cpoId, 'pair', later(pairedAt, -CALL_MS), pairedAt));
  const tried = found.redemptions.map(({ beganAt }) => between(null, 'pair', beganAt, later(beganAt, 1_000)));
  const notified = found.pairings.flatMap(({ id, cpoId, endedAt, endedBy }) => {
    if (endedAt === null || endedBy === 'cpo') return [];
    const outcome = events.find(({ type, pairingId }) => type.startsWith('cpo.') && pairingId === id);
    if (outcome === undefined && waiting.every(({ pairingId }) => pairingId !== id)) return [];
    return [between(cpoId, 'unpair', endedAt, outcome?.occurredAt ?? LATER)];
  });
  return [...redeemed, ...tried, ...notified];
}

/** Reads what followed from a case, at most 100 of each kind. */
export async function followCase(ctx: CaseContext, found: Case): Promise<Followed> {
  const { db } = ctx;
  const { request } = found.key;
  const read = async <Row>(kind: string, sql: string, values: unknown[]) =>
    atMost(await rows<Row>(db, sql, values), kind, found.leftOut);
  const events = await eventsOf(ctx, found);
  const positions = events.flatMap(({ position }) => (position === null ? [] : [position]));
  const ids = found.pairings.map(({ id }) => id);
  const notifications = await read<CaseNotification>('notifications', NOTIFICATIONS, [ids, request ?? null]);
  return {
    events,
    deliveries: await read<CaseDelivery>('webhook deliveries', DELIVERIES, [positions]),
    notifications,
    calls:
      request === undefined
        ? await read<CaseCall>('calls', CALLS_AT, [JSON.stringify(callTimes(found, events, notifications))])
        : await read<CaseCall>('calls', CALLS_OF_REQUEST, [request]),
  };
}
