import { validate as isUuid } from 'uuid';
import type { Schemas } from '../contract/document';
import type { Database } from '../db/pool';
import { rows } from '../db/query';
import type { DisabledReason } from '../db/schema/webhooks';
import { Problem } from '../problems';

/** The channel of the events: payload `unpublished` when some were committed, no payload when some were published. */
export const EVENTS_CHANNEL = 'scsp_events';
export const UNPUBLISHED = 'unpublished';

export type Event = Schemas['Event'];
export type EventType = Event['type'];

/** Every type in the feed. The compiler reports one that is missing. */
const TYPES: Readonly<Record<EventType, { ingest: boolean }>> = {
  'station.paired': { ingest: true },
  'station.unpaired': { ingest: true },
  'pairing.erased': { ingest: true },
  'pairing.refused': { ingest: false },
  'pairing_code.expired': { ingest: false },
  'pairing_code.cancelled': { ingest: false },
  'cpo.notified': { ingest: false },
  'cpo.notification_failed': { ingest: false },
  'webhook_endpoint.failing': { ingest: false },
  'webhook_endpoint.disabled': { ingest: false },
  'feed.restarted': { ingest: true },
};

/** Who reads events: an app, which sees every type, or the ingest (`app` is null), which sees those of stations only. */
export type EventReader = { readonly app: string | null };

/** Returns the types that a reader sees. */
export function typesFor({ app }: EventReader): EventType[] {
  const types = Object.keys(TYPES) as EventType[];
  return app === null ? types.filter((type) => TYPES[type].ingest) : types;
}

/** @throws Problem `invalid-request` for a type that the reader never gets: it would wait for it in vain */
export function requireVisibleTypes(reader: EventReader, types: readonly string[] = []): void {
  const visible: readonly string[] = typesFor(reader);
  const message = `must be one of ${visible.join(', ')}`;
  const errors = types.flatMap((type, n) => (visible.includes(type) ? [] : [{ pointer: `/types/${n}`, message }]));
  if (errors.length > 0) throw new Problem('invalid-request', { errors });
}

/** An event with the rows that it refers to. What was erased is null. */
export type StoredEvent = {
  readonly id: string;
  readonly type: EventType;
  readonly occurredAt: Date;
  readonly position: string;
  readonly codeId: string | null;
  readonly pairingId: string | null;
  readonly cpoId: string | null;
  readonly reason: string | null;
  readonly attempts: number | null;
  readonly replacedBy: string | null;
  readonly endpointId: string | null;
  readonly failingSince: Date | null;
  readonly pairing: {
    readonly codeId: string | null;
    readonly userId: string;
    readonly chargingLocationId: string;
    readonly uid: string;
    readonly payloadProtocol: string;
  } | null;
  readonly pairedAt: Date | null;
  readonly endedAt: Date | null;
  readonly endedBy: string | null;
  readonly code: { readonly userId: string; readonly chargingLocationId: string } | null;
};

/** The columns of `StoredEvent`, from `EVENT_SOURCE`. */
export const EVENT_COLUMNS = `e.id, e.type, e.occurred_at as "occurredAt", e.position, e.code_id as "codeId",
  e.pairing_id as "pairingId", e.cpo_id as "cpoId", e.reason, e.attempts, e.replaced_by as "replacedBy",
  e.endpoint_id as "endpointId", e.failing_since as "failingSince",
  p.paired_at as "pairedAt", p.ended_at as "endedAt", p.ended_by as "endedBy",
  case when p.user_id is not null and s.uid is not null then json_build_object('codeId', p.code_id, 'userId', p.user_id,
    'chargingLocationId', p.charging_location_id, 'uid', s.uid, 'payloadProtocol', s.payload_protocol) end as pairing,
  case when c.user_id is not null then json_build_object('userId', c.user_id,
    'chargingLocationId', c.charging_location_id) end as code`;

/** Joins the rows that hold what is personal to `e`, a table or subquery of events. */
export const EVENT_JOINS = `
  left join pairings p on p.id = e.pairing_id
  left join stations s on s.pairing_id = e.pairing_id
  left join pairing_codes c on c.id = e.code_id`;

/**
 * Composes an event from its row and the rows that it refers to, as they are now: erasing those erases the event (contract,
 * section 9). At most 4 kB.
 */
export function writeEvent(event: StoredEvent): Event {
  const { id, occurredAt, position } = event;
  // The compiler cannot see that `data` belongs to `type`.
  return { id, type: event.type, timestamp: occurredAt.toISOString(), position, data: dataOf(event) } as Event;
}

function dataOf(event: StoredEvent): Event['data'] {
  const { pairing, code, codeId, cpoId } = event;
  const pairingId = event.pairingId ?? '';
  switch (event.type) {
    case 'station.paired': {
      if (pairing === null) return { pairing_id: pairingId, code_id: codeId ?? undefined, erased: true };
      return {
        pairing_id: pairingId,
        code_id: pairing.codeId ?? undefined,
        method: pairing.codeId === null ? 'cpo_code' : 'scsp_code',
        ...personal(pairing),
        cpo_id: cpoId ?? undefined,
        payload_protocol: pairing.payloadProtocol,
        paired_at: event.pairedAt?.toISOString(),
      };
    }
    case 'station.unpaired':
      return {
        pairing_id: pairingId,
        cpo_id: cpoId ?? '',
        unpaired_at: (event.endedAt ?? event.occurredAt).toISOString(),
        reason: (event.reason ?? event.endedBy ?? 'app') as Schemas['StationUnpairedData']['reason'],
        ...(pairing === null ? ERASED : personal(pairing)),
      };
    case 'pairing.erased':
      return { pairing_id: pairingId };
    case 'pairing.refused':
      return {
        code_id: codeId ?? '',
        cpo_id: cpoId ?? '',
        reason: 'station-already-paired',
        ...(code === null ? ERASED : { ...ofCode(code), uid: pairing?.uid }),
      };
    case 'pairing_code.expired':
      return { code_id: codeId ?? '', ...ofCode(code) };
    case 'pairing_code.cancelled':
      return { code_id: codeId ?? '', ...ofCode(code), replaced_by: event.replacedBy ?? undefined };
    case 'cpo.notified':
    case 'cpo.notification_failed':
      return {
        pairing_id: pairingId,
        cpo_id: cpoId ?? '',
        attempts: event.attempts ?? 1,
        ...(pairing === null ? ERASED : { uid: pairing.uid }),
      };
    case 'webhook_endpoint.failing':
      return {
        endpoint_id: event.endpointId ?? '',
        failing_since: (event.failingSince ?? event.occurredAt).toISOString(),
      };
    case 'webhook_endpoint.disabled':
      return {
        endpoint_id: event.endpointId ?? '',
        reason: event.reason as DisabledReason,
        failing_since: event.failingSince?.toISOString(),
      };
    case 'feed.restarted':
      return {};
    default:
      throw new TypeError(`the type ${event.type satisfies never} has no data`);
  }
}

const ERASED = { erased: true } as const;

const personal = ({ uid, userId, chargingLocationId }: NonNullable<StoredEvent['pairing']>) => ({
  uid,
  user_id: userId,
  charging_location_id: chargingLocationId,
});

const ofCode = (code: StoredEvent['code']) =>
  code === null ? ERASED : { user_id: code.userId, charging_location_id: code.chargingLocationId };

export type EventQuery = EventReader & {
  /** A position; events after it are returned. Undefined: from the beginning. */
  readonly after: string | undefined;
  readonly types: readonly string[] | undefined;
  readonly limit: number;
};

export type EventPage = { readonly items: Event[]; readonly nextAfter: string };

/**
 * Each type has its range of an index, so that events of other types cost nothing: the comparison of rows and the order leave the
 * planner no other, although it expects every type to be frequent. One statement: its snapshot has the events and the end of the
 * feed of the same commit.
 */
export const READ_EVENTS = `
select f.last_position as "lastPosition", f.deleted_position as "deletedPosition", ${EVENT_COLUMNS}
from event_feed f
left join lateral (
  select found.* from unnest($2::text[]) t (type) cross join lateral (
    select * from events o
    where (o.type, o.position) > (t.type, coalesce($1::bigint, f.deleted_position)) and o.type <= t.type
      and o.position is not null and (o.app_name is null or o.app_name = $3)
    order by o.type, o.position limit $4
  ) found
  order by found.position limit $4
) e on $1::bigint is null or $1::bigint between f.deleted_position and f.last_position
${EVENT_JOINS}
order by e.position`;

type Ends = { readonly lastPosition: string; readonly deletedPosition: string };

/**
 * Reads a page of events in the order of their positions. Whoever continues with `nextAfter` misses nothing.
 * @throws Problem `events-expired` if events after `after` are no longer kept, or it is beyond the end
 */
export async function readEvents(db: Database, { app, after, types, limit }: EventQuery): Promise<EventPage> {
  const visible = typesFor({ app });
  const wanted = types === undefined ? visible : visible.filter((type) => types.includes(type));
  const found = await rows<Ends & (StoredEvent | { id: null })>(db, READ_EVENTS, [after ?? null, wanted, app, limit]);
  const [ends] = found;
  if (ends === undefined) throw new TypeError('event_feed has no row');
  if (
    after !== undefined &&
    (BigInt(after) < BigInt(ends.deletedPosition) || BigInt(after) > BigInt(ends.lastPosition))
  )
    throw new Problem('events-expired');
  const items = found.flatMap((event) => (event.id === null ? [] : [writeEvent(event)]));
  const last = items.at(-1);
  return { items, nextAfter: items.length < limit || last === undefined ? ends.lastPosition : last.position };
}

/** Returns the position of the last event that was published. */
export async function lastPosition(db: Pick<Database, 'query'>): Promise<string> {
  const [feed] = await rows<{ position: string }>(db, 'select last_position as position from event_feed');
  return feed?.position ?? '0';
}

/**
 * Returns a published event that the reader may see.
 * @throws Problem `not-found`, also for a malformed id
 */
export async function readEvent(db: Database, { app }: EventReader, id: string): Promise<Event> {
  if (!isUuid(id)) throw new Problem('not-found');
  const [event] = await rows<StoredEvent>(
    db,
    `select ${EVENT_COLUMNS} from events e ${EVENT_JOINS}
     where e.id = $1 and e.position is not null and e.type = any ($2) and (e.app_name is null or e.app_name = $3)`,
    [id, typesFor({ app }), app],
  );
  if (event === undefined) throw new Problem('not-found');
  return writeEvent(event);
}
