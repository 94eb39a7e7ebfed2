import type { Response } from 'express';
import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { readUntil } from '../db/read-until';
import { atMost } from '../delivery/at-most';
import { Counts } from '../delivery/counts';
import { stillAllowed, unlessRefused, waitSignal } from '../http/client-disconnect';
import { Problem } from '../problems';
import { callerOf, partyOf } from '../tokens/caller';
import { EVENTS_CHANNEL, type EventReader, lastPosition, readEvent, readEvents, requireVisibleTypes } from './events';

const DEFAULT_LIMIT = 100;
/** The maximum number of requests of one app or pipeline that wait for events in this process. A follower needs one. */
const MAX_WAITING = 100;
/** Each new event wakes every waiting request: they read two at a time, so that they leave the pool to others. */
const MAX_READS = 2;

export function eventHandlers(ctx: Context): Pick<Handlers, 'listEvents' | 'getEvent'> {
  const waiting = new Counts();
  const atOnce = atMost(MAX_READS);
  return {
    async listEvents({ query }, res) {
      if (query.after === 'latest') return void res.json({ items: [], next_after: await lastPosition(ctx.db) });
      const reader = readerOf(res);
      requireVisibleTypes(reader, query.types);
      const { after, types, limit = DEFAULT_LIMIT } = query;
      const read = async () => {
        const page = await atOnce(() => readEvents(ctx.db, { ...reader, after, types, limit }));
        return { value: page, final: page.items.length > 0 };
      };
      const { wait = 0 } = query;
      const follow = () => readUntil(ctx.listener, { channel: EVENTS_CHANNEL }, read, wait, waitSignal(res));
      const party = partyOf(callerOf(res));
      if (wait > 0 && waiting.of(party) >= MAX_WAITING) throw tooManyWaiting();
      const page = wait > 0 ? waiting.during(party, follow) : follow();
      const { items, nextAfter } = await page.catch(unlessRefused(res));
      await stillAllowed(res);
      res.json({ items, next_after: nextAfter });
    },

    async getEvent(req, res) {
      res.json(await readEvent(ctx.db, readerOf(res), req.params.id));
    },
  };
}

const tooManyWaiting = () =>
  new Problem('too-many-requests', {
    message: `At most ${MAX_WAITING} requests may wait for events at a time. Follow them with one.`,
    headers: { 'Retry-After': '1' },
  });

function readerOf(res: Response): EventReader {
  const { role, app } = callerOf(res);
  return { app: role === 'app' ? app : null };
}
