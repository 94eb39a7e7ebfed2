import type { Response } from 'express';
import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { readUntil } from '../db/read-until';
import { atMost } from '../delivery/at-most';
import { stillAllowed, unlessRefused, waitSignal } from '../http/client-disconnect';
import { Problem } from '../problems';
import { callerOf, partyOf } from '../tokens/caller';
import { EVENTS_CHANNEL, type EventReader, lastPosition, readEvent, readEvents, typesFor } from './events';

const DEFAULT_LIMIT = 100;
/** The maximum number of requests of one app or pipeline that wait for events in this process. A follower needs one. */
const MAX_WAITING = 100;
/** Each new event wakes every waiting request: they read two at a time, so that they leave the pool to others. */
const MAX_READS = 2;

export function eventHandlers(ctx: Context): Pick<Handlers, 'listEvents' | 'getEvent'> {
  const waiting = new Map<string, number>();
  const atOnce = atMost(MAX_READS);
  return {
    async listEvents({ query }, res) {
      if (query.after === 'latest') return void res.json({ items: [], next_after: await lastPosition(ctx.db) });
      const reader = readerOf(res);
      rejectUnknownTypes(reader, query.types);
      const { after, types, limit = DEFAULT_LIMIT } = query;
      const read = async () => {
        const page = await atOnce(() => readEvents(ctx.db, { ...reader, after, types, limit }));
        return { value: page, final: page.items.length > 0 };
      };
      const wait = query.wait ?? 0;
      const leave = wait > 0 ? enter(waiting, partyOf(callerOf(res))) : () => {};
      const { items, nextAfter } = await readUntil(
        ctx.listener,
        { channel: EVENTS_CHANNEL },
        read,
        wait,
        waitSignal(res),
      )
        .catch(unlessRefused(res))
        .finally(leave);
      await stillAllowed(res);
      res.json({ items, next_after: nextAfter });
    },

    async getEvent(req, res) {
      res.json(await readEvent(ctx.db, readerOf(res), req.params.id));
    },
  };
}

/**
 * Counts a waiting request of a party.
 * @returns the function that ends the count
 * @throws Problem `too-many-requests`
 */
function enter(waiting: Map<string, number>, party: string): () => void {
  const others = waiting.get(party) ?? 0;
  if (others >= MAX_WAITING)
    throw new Problem('too-many-requests', {
      message: `At most ${MAX_WAITING} requests may wait for events at a time. Follow them with one.`,
      headers: { 'Retry-After': '1' },
    });
  waiting.set(party, others + 1);
  return () => {
    const left = (waiting.get(party) ?? 1) - 1;
    if (left > 0) waiting.set(party, left);
    else waiting.delete(party);
  };
}

function readerOf(res: Response): EventReader {
  const { role, app } = callerOf(res);
  return { app: role === 'app' ? app : null };
}

/** @throws Problem `invalid-request` for a type that the reader never gets: it would wait for it in vain */
function rejectUnknownTypes(reader: EventReader, types: readonly string[] = []): void {
  const visible: readonly string[] = typesFor(reader);
  const message = `must be one of ${visible.join(', ')}`;
  const errors = types.flatMap((type, n) => (visible.includes(type) ? [] : [{ pointer: `/types/${n}`, message }]));
  if (errors.length > 0) throw new Problem('invalid-request', { errors });
}
