import type { Database } from '../db/pool';
import { rows } from '../db/query';
import { OperatorError } from '../problems';
import { EVENT_COLUMNS, EVENT_JOINS, type Event, type StoredEvent, writeEvent } from './events';

const ENDS = `select last_position as "lastPosition", deleted_position as "deletedPosition" from event_feed`;

const listed = (events: string) => `
select ${EVENT_COLUMNS} from (${events}) e ${EVENT_JOINS} order by e.position`;

const AFTER = listed('select * from events where position > $1 order by position limit $2');
const LATEST = listed('select * from events where position is not null order by position desc limit $1');

/**
 * Returns published events of every type and app, in the order of their positions: the first ones after a position, or the
 * latest if `after` is undefined.
 * @throws OperatorError if events after `after` are no longer kept, or it is beyond the end
 */
export async function listEvents(db: Database, limit: number, after?: string): Promise<Event[]> {
  if (after === undefined) return (await rows<StoredEvent>(db, LATEST, [limit])).map(writeEvent);
  const [ends] = await rows<{ lastPosition: string; deletedPosition: string }>(db, ENDS);
  if (ends === undefined) throw new TypeError('event_feed has no row');
  const { deletedPosition, lastPosition } = ends;
  if (BigInt(after) < BigInt(deletedPosition) || BigInt(after) > BigInt(lastPosition))
    throw new OperatorError(
      `the events after position ${after} are not kept: --after must be from ${deletedPosition} to ${lastPosition}`,
    );
  return (await rows<StoredEvent>(db, AFTER, [after, limit])).map(writeEvent);
}
