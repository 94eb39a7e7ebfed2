import type { Context } from '../context';
import type { Handlers, Schemas } from '../contract/document';
import { stillAllowed, unlessRefused, waitSignal } from '../http/client-disconnect';
import { writePairing } from '../stations/http';
import { stationOfCode } from '../stations/stations';
import { type Code, cancelCode } from './codes';
import { createIssueCode } from './issue';
import { watchCode } from './watch';

/** @param isReserved see `createIssueCode` */
export function codeHandlers(
  ctx: Context,
  isReserved?: (code: string) => boolean,
): Pick<Handlers, 'issueCode' | 'followCode' | 'cancelCode'> {
  const issueCode = createIssueCode(ctx, isReserved);
  return {
    async issueCode(req, res) {
      const issued = await issueCode({
        userId: req.body.user_id,
        chargingLocationId: req.body.charging_location_id,
        cpoId: req.body.cpo_id,
        origin: res.locals.origin,
      });
      res.locals.subject = { code_id: issued.id, cpo_id: issued.cpoId ?? undefined };
      const { id, ...rest } = writeCode(issued);
      res
        .status(201)
        .location(`/v1/app/pairing-codes/${id}`)
        .json({ id, code: issued.code, ...rest });
    },

    async followCode(req, res) {
      const signal = waitSignal(res);
      const code = await watchCode(ctx, req.params.id, req.query.wait ?? 0, signal).catch(unlessRefused(res));
      await stillAllowed(res);
      const paired = code.status === 'used' ? await stationOfCode(ctx.db, code.id) : undefined;
      const cpoId = paired?.cpoId ?? code.cpoId ?? undefined;
      res.locals.subject = { code_id: code.id, cpo_id: cpoId, pairing_id: paired?.pairingId };
      res.json({ ...writeCode(code), pairing: paired && writePairing(paired) });
    },

    async cancelCode(req, res) {
      await cancelCode(ctx, req.params.id, res.locals.origin);
      res.locals.subject = { code_id: req.params.id };
      res.status(204).end();
    },
  };
}

function writeCode(code: Code): Schemas['Code'] {
  return {
    id: code.id,
    status: code.status,
    user_id: code.userId,
    charging_location_id: code.chargingLocationId,
    cpo_id: code.cpoId ?? undefined,
    created_at: code.createdAt.toISOString(),
    expires_at: code.expiresAt.toISOString(),
  };
}
