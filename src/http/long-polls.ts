import type { RequestHandler } from 'express';
import { callerOf } from '../tokens/caller';
import type { TokenRegistry } from '../tokens/registry';
import { endWait, waitSignal } from './client-disconnect';

/**
 * Ends long polls when their token is revoked or the service stops, and counts them apart from other requests. Belongs after
 * the validator, which converts `wait` to a number if the operation has that parameter.
 * @param count takes a slot for a long poll
 */
export function longPolls(
  registry: Pick<TokenRegistry, 'onRevoked'>,
  stopping: AbortSignal,
  count: RequestHandler,
): RequestHandler {
  const waiting = new Set<() => void>();
  stopping.addEventListener('abort', () => {
    for (const end of waiting) end();
  });
  return (req, res, next) => {
    const wait: unknown = req.query.wait;
    if (typeof wait !== 'number' || wait <= 0) return next();
    return count(req, res, (error?: unknown) => {
      if (error !== undefined) return next(error);
      const end = () => endWait(res);
      waitSignal(res);
      waiting.add(end);
      if (stopping.aborted) end();
      const unsubscribe = registry.onRevoked(callerOf(res), end);
      res.once('close', () => {
        waiting.delete(end);
        unsubscribe();
      });
      return next();
    });
  };
}
