import type { RequestHandler } from 'express';
import type { OperationId } from '../contract/document';
import { Problem } from '../problems';
import type { Caller } from '../tokens/caller';

/** What a self-service CPO may have stored at once, and a second, in bytes: 2,000 small stations, then one every 3 s. */
const CAPACITY = 3_000_000;
const PER_SECOND = 500;
/** What every request stores beside its station: an attempt, an Idempotency-Key, a pairing, with their indexes. */
const PER_REQUEST = 1_000;
/** Above the number of CPOs that exist at a time. */
const MOST_KEPT = 2_000;

const STORING: ReadonlySet<unknown> = new Set<OperationId>([
  'pairOcpp',
  'pairOcpi22',
  'pairOcpi221',
  'pairOcpi230',
  'sandboxTestRedemption',
  'sandboxRedemptionForm',
]);

type Spent = { readonly bytes: number; readonly at: number };

/**
 * Creates a step that limits what self-service CPOs have stored: anybody can create one, attempts are kept for 30 days, and pairings
 * as long as their CPO. Each process counts on its own. A request is let in while anything is left, and what it stored is counted
 * when it has ended. Must run after authentication and before the body is read.
 */
export function limitWrites(now: () => number = () => performance.now()): RequestHandler {
  const spent = new Map<string, Spent>();
  const spentBy = (cpoId: string): number => {
    const { bytes, at } = spent.get(cpoId) ?? { bytes: 0, at: 0 };
    return Math.max(0, bytes - ((now() - at) / 1_000) * PER_SECOND);
  };
  const spend = (cpoId: string, bytes: number): void => {
    if (spent.size >= MOST_KEPT) for (const id of spent.keys()) if (spentBy(id) === 0) spent.delete(id);
    spent.set(cpoId, { bytes: spentBy(cpoId) + bytes, at: now() });
  };
  return (req, res, next) => {
    const cpo = (res.locals.caller as Caller | undefined)?.cpo;
    if (!cpo?.sandbox || !STORING.has(req.openapi?.schema.operationId)) return next();
    const excess = spentBy(cpo.id) - CAPACITY;
    if (excess >= 0)
      throw new Problem('too-many-requests', {
        message: 'This CPO has had too much stored for a sandbox, please try again later.',
        headers: { 'Retry-After': String(Math.ceil((excess + PER_REQUEST) / PER_SECOND)) },
      });
    res.once('close', () => {
      const received: number = res.locals.bodyBytes?.length ?? 0;
      spend(
        cpo.id,
        PER_REQUEST + Math.max(received, Number(res.get('Content-Length') ?? 0), res.locals.storedBytes ?? 0),
      );
    });
    next();
  };
}
