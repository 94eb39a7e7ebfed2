import type { RequestHandler } from 'express';
import { Problem } from '../problems';

/** How many requests this process answers at once; long polls hold no connection of the database and are counted apart. */
export type LoadLimits = { readonly requests: number; readonly longPolls: number };

/** So many a process of this size answers within the second or two that callers wait; more would only wait longer. */
export const LOAD_LIMITS: LoadLimits = { requests: 512, longPolls: 5_000 };

const PROBES = new Set(['/live', '/ready']);

/** Refuses at once what is too much: whoever is told so tries again, whoever waits in a queue gives up and tries again too. */
export function shedLoad(limits: LoadLimits): RequestHandler {
  const inFlight = { requests: 0, longPolls: 0 };
  return (req, res, next) => {
    if (PROBES.has(req.path)) return next();
    const kind = waits(req.url) ? 'longPolls' : 'requests';
    if (inFlight[kind] >= limits[kind])
      throw new Problem('unavailable', { message: 'Too many requests at once, please try again.' });
    inFlight[kind] += 1;
    res.once('close', () => {
      inFlight[kind] -= 1;
    });
    return next();
  };
}

function waits(url: string): boolean {
  return /^\/v1\/app\/pairing-codes\/[^/?]+\?(.*&)?wait=0*[1-9]/.test(url);
}
