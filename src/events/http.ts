import type { Response } from 'express';
import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { readUntil } from '../db/read-until';
import { stillAllowed, unlessRefused, waitSignal } from '../http/client-disconnect';
import { Problem } from '../problems';
import { callerOf } from '../tokens/caller';
import { EVENTS_CHANNEL, type EventReader, lastPosition, readEvent, readEvents, typesFor } from './events';

const DEFAULT_LIMIT = 100;

export function eventHandlers(ctx: Context): Pick<Handlers, 'listEvents' | 'getEvent'> {
  return {
    async listEvents({ query }, res) {
      if (query.after === 'latest') return void res.json({ items: [], next_after: await lastPosition(ctx.db) });
      const reader = readerOf(res);
      rejectUnknownTypes(reader, query.types);
      const { after, types, limit = DEFAULT_LIMIT } = query;
      const read = async () => {
        const page = await readEvents(ctx.db, { ...reader, after, types, limit });
        return { value: page, final: page.items.length > 0 };
      };
      const wait = query.wait ?? 0;
      const { items, nextAfter } = await readUntil(
        ctx.listener,
        { channel: EVENTS_CHANNEL },
        read,
        wait,
        waitSignal(res),
      ).catch(unlessRefused(res));
      await stillAllowed(res);
      res.json({ items, next_after: nextAfter });
    },

    async getEvent(req, res) {
      res.json(await readEvent(ctx.db, readerOf(res), req.params.id));
    },
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
