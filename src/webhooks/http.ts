import type { Response } from 'express';
import type { Audited } from '../audit/audit';
import type { Context } from '../context';
import type { Handlers, OperationId } from '../contract/document';
import { stillAllowed } from '../http/client-disconnect';
import { invalid, readInstant } from '../http/invalid';
import { FIRST_ID, idIn, LAST_POSITION, positionIn, readPage } from '../http/pagination';
import { callerOf } from '../tokens/caller';
import type { WebhookClient } from './client';
import { listDeliveries } from './deliveries';
import { changeEndpoint, createEndpoint, deleteEndpoint, getEndpoint, listEndpoints } from './endpoints';
import type { Owned } from './owned';
import { redeliverEvent, redeliverSince } from './redeliver';
import { rotateSecret } from './secrets';
import { testEndpoint } from './test-call';
import { writeDelivery, writeEndpoint } from './write';

type WebhookHandlers = Pick<Handlers, Extract<OperationId, `${string}Webhook${string}`> & keyof Handlers>;

const DEFAULT_OVERLAP_HOURS = 24;

export function webhookHandlers(ctx: Context, client: WebhookClient): WebhookHandlers {
  const audited = (res: Response): Context & Audited => ({ ...ctx, actor: `app token ${callerOf(res).tokenId}` });
  return {
    async createWebhookEndpoint(req, res) {
      const { id, secret, ...endpoint } = await createEndpoint(audited(res), appOf(res), req.body);
      res
        .status(201)
        .location(`/v1/app/webhook-endpoints/${id}`)
        .json({ ...writeEndpoint({ id, ...endpoint }), secret });
    },

    async listWebhookEndpoints(req, res) {
      const page = await readPage(
        req.query,
        FIRST_ID,
        ({ id }) => id,
        (after, limit) => listEndpoints(ctx.db, appOf(res), idIn(after), limit),
        writeEndpoint,
      );
      res.json(page);
    },

    async getWebhookEndpoint(req, res) {
      res.json(writeEndpoint(await getEndpoint(ctx.db, ownedBy(res, req.params.id))));
    },

    async changeWebhookEndpoint(req, res) {
      const owned = ownedBy(res, req.params.id);
      res.json(writeEndpoint(await changeEndpoint(audited(res), owned, req.body, res.locals.origin)));
    },

    async deleteWebhookEndpoint(req, res) {
      await deleteEndpoint(audited(res), ownedBy(res, req.params.id));
      res.status(204).end();
    },

    async rotateWebhookSecret(req, res) {
      const overlapHours = req.body.overlap_hours ?? DEFAULT_OVERLAP_HOURS;
      const rotated = await rotateSecret(audited(res), ownedBy(res, req.params.id), overlapHours);
      res.json({ secret: rotated.secret, older_secrets_expire_at: rotated.olderExpireAt.toISOString() });
    },

    async testWebhookEndpoint(req, res) {
      const outcome = await testEndpoint(ctx, client, ownedBy(res, req.params.id), res.locals.origin);
      await stillAllowed(res);
      const { delivered, status, durationMs, error } = outcome;
      res.json({ delivered, status, duration_ms: durationMs, error });
    },

    async listWebhookDeliveries(req, res) {
      const owned = ownedBy(res, req.params.id);
      await getEndpoint(ctx.db, owned);
      const page = await readPage(
        req.query,
        LAST_POSITION,
        ({ position }) => position,
        (before, limit) => listDeliveries(ctx.db, owned, req.query.status, positionIn(before), limit),
        writeDelivery,
      );
      res.json(page);
    },

    async redeliverWebhookEvents(req, res) {
      const { event_id: eventId, since } = req.body;
      const owned = ownedBy(res, req.params.id);
      if (eventId !== undefined && since !== undefined) throw invalid('/since', 'must be absent when event_id is sent');
      if (eventId !== undefined) await redeliverEvent(ctx.db, owned, eventId);
      else if (since !== undefined) await redeliverSince(ctx.db, owned, new Date(readInstant(since, '/since')));
      else throw invalid('/event_id', 'is required, unless since is sent');
      res.status(202).json({ message: 'The events will be delivered again.' });
    },
  };
}

function appOf(res: Response): string {
  const { app } = callerOf(res);
  if (app === null) throw new TypeError('the operation does not require the role app');
  return app;
}

const ownedBy = (res: Response, id: string): Owned => ({ id, app: appOf(res) });
