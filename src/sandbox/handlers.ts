import type { Context } from '../context';
import type { SandboxHandlers, Schemas } from '../contract/document';
import { shownTo } from '../problems';
import { cpoOf } from '../tokens/caller';
import { endpointOf } from './endpoint';
import type { Redeemed } from './test-redemption';
import type { SandboxVerbs } from './verbs';

type ApiHandlers = Pick<
  SandboxHandlers,
  'sandboxCreateCpo' | 'sandboxGetEndpoint' | 'sandboxSetEndpoint' | 'sandboxTestRedemption' | 'sandboxTestUnpair'
>;

export function sandboxHandlers(ctx: Context, verbs: SandboxVerbs): ApiHandlers {
  return {
    async sandboxCreateCpo({ body }, res) {
      const { id, name, token, expiresAt } = await verbs.signUp(body.name, res);
      res.status(201).json({ cpo: { id, name }, token, expires_at: expiresAt.toISOString() });
    },

    async sandboxGetEndpoint(_req, res) {
      res.json({ base_url: await endpointOf(ctx, cpoOf(res).id) });
    },

    async sandboxSetEndpoint({ body }, res) {
      res.json({ base_url: await verbs.setEndpoint(body, res) });
    },

    async sandboxTestRedemption({ body }, res) {
      res.json(writeRedeemed(await verbs.redeem(body.code, body.payload_protocol, res)));
    },

    async sandboxTestUnpair({ body }, res) {
      await verbs.unpair(body.uid, res);
      res.json({ message: 'Charging station successfully unpaired.' });
    },
  };
}

function writeRedeemed(redeemed: Redeemed): Schemas['SandboxRedemption'] {
  return {
    outcome: redeemed.outcome,
    status: redeemed.status,
    duration_ms: redeemed.durationMs,
    request_id: redeemed.requestId,
    url: redeemed.url,
    message: redeemed.message,
    errors: redeemed.errors?.map((error) => ({ pointer: error.pointer, message: shownTo(error) })),
    ...redeemed.station,
  };
}
