import type { Context } from '../context';
import type { Handlers } from '../contract/document';
import { unauthorized } from '../http/auth';
import { Problem } from '../problems';
import { callerOf } from './caller';
import { rotateOwnToken } from './rotate-own';

const DEFAULT_OVERLAP_HOURS = 24;

export function tokenHandlers(ctx: Context): Pick<Handlers, 'rotateToken'> {
  return {
    async rotateToken(req, res) {
      const { tokenId } = callerOf(res);
      const audited = { ...ctx, actor: `cpo token ${tokenId}` };
      const overlapHours = req.body?.overlap_hours ?? DEFAULT_OVERLAP_HOURS;
      const rotated = await rotateOwnToken(audited, tokenId, overlapHours).catch((error: unknown) => {
        // A 401 names the scheme.
        if (error instanceof Problem && error.type === 'invalid-token') throw unauthorized(req.get('Authorization'));
        throw error;
      });
      res.status(201).json({
        id: rotated.id,
        token: rotated.token,
        expires_at: rotated.expiresAt.toISOString(),
        replaces: { id: rotated.replaces, expires_at: rotated.oldExpiresAt.toISOString() },
      });
    },
  };
}
