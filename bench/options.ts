import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    levels: { type: 'string' },
  },
});

/** Whether this run only shows that everything works: one round of few requests, its figures mean nothing. */
export const SHORT = values.short;
export const ROUNDS = Number(values.rounds ?? (SHORT ? 1 : 5));
/** Numbers of paired stations that `npm run bench:growth` compares, in ascending order. */
export const LEVELS = (values.levels ?? (SHORT ? '0,1000' : '0,100000,1000000,10000000')).split(',').map(Number);

/** Returns how many requests to send: so many, or a 32nd of them in a short run, always a multiple of the connections. */
export function scaled(requests: number, connections: number, share = 1): number {
  return Math.max(1, Math.round((requests * share) / (SHORT ? 32 : 1) / connections)) * connections;
}
