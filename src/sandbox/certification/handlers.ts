import type { Response } from 'express';
import type { SandboxHandlers, Schemas } from '../../contract/document';
import { stillAllowed, unlessRefused, waitSignal } from '../../http/client-disconnect';
import { cpoOf } from '../../tokens/caller';
import { listCertification } from './list';
import { followRun, type Run } from './run';
import { type RunContext, startRun } from './start-run';

export function certificationHandlers(
  ctx: RunContext,
): Pick<SandboxHandlers, 'sandboxStartRun' | 'sandboxFollowRun' | 'sandboxListCertification'> {
  return {
    async sandboxStartRun({ body }, res) {
      const { codes, protocols, read_only, only } = body;
      const options = { codes, protocols, readOnly: read_only, only };
      const run = await startRun(ctx, cpoOf(res).id, options, res.locals.origin).catch(unlessRefused(res));
      res.status(202).location(`/v1/scsp/certification/runs/${run.id}`).json(writeRun(run));
    },

    async sandboxFollowRun(req, res) {
      const { id } = cpoOf(res);
      const run = await follow(ctx, id, req.params.id, req.query.wait ?? 0, res).catch(unlessRefused(res));
      await stillAllowed(res);
      res.json(writeRun(run));
    },

    async sandboxListCertification(_req, res) {
      res.json({ items: await listCertification(ctx, cpoOf(res), ctx.runner.settings.times) });
    },
  };
}

const follow = (ctx: RunContext, cpoId: string, id: string, wait: number, res: Response): Promise<Run> =>
  followRun(ctx, cpoId, id, wait, waitSignal(res));

function writeRun({ id, status, startedAt, endedAt, done, total, report }: Run): Schemas['CertificationRun'] {
  return {
    id,
    status,
    started_at: startedAt.toISOString(),
    ended_at: endedAt?.toISOString(),
    progress: { done, total },
    report: report === null ? undefined : { ...report, checks: [...report.checks] },
  };
}
