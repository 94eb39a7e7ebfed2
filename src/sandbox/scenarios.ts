import type { ServerResponse } from 'node:http';
import type { StationBody } from '../protocols/protocol';

/** The scenarios of the sandbox CPO by code. `docs/sandbox.md` and openapi.yaml list them. */
export const scenarios: Record<string, { what: string; answer: (res: ServerResponse) => void }> = {
  '000400': { what: 'answers 400', answer: (res) => json(res, 400, { message: 'Bad request.' }) },
  '000401': { what: 'answers 401', answer: (res) => json(res, 401, { message: 'Unauthorized.' }) },
  '000500': { what: 'answers 500', answer: (res) => json(res, 500, { message: 'Internal server error.' }) },
  '000501': { what: 'closes the connection without an answer', answer: (res) => res.destroy() },
  '000502': { what: 'never answers', answer: () => {} },
  '000503': { what: 'redirects', answer: (res) => res.writeHead(307, { location: '/elsewhere' }).end() },
  '000601': {
    what: 'answers JSON that breaks off',
    answer: (res) => raw(res, 'application/json', '{"charging_station": {'),
  },
  '000602': { what: 'answers HTML', answer: (res) => raw(res, 'text/html', '<h1>It works!</h1>') },
  '000603': { what: 'answers a station without EVSEs', answer: (res) => json(res, 200, broken({ evses: [] })) },
  '000604': { what: 'answers a station without uid', answer: (res) => json(res, 200, broken({ uid: undefined })) },
  '000605': { what: 'answers an empty object', answer: (res) => json(res, 200, {}) },
  '000606': { what: 'answers a megabyte', answer: (res) => raw(res, 'application/json', `"${'x'.repeat(1_000_000)}"`) },
  '000607': {
    what: 'answers the same evse_id twice',
    answer: (res) => json(res, 200, broken({ evses: [evse, evse] })),
  },
};

const connectors = [{ id: '1', power_type: 'AC_3_PHASE' as const, max_voltage: 220, max_amperage: 16 }];
const evse = { evse_id: 1, capabilities: ['CHARGING_PROFILE_CAPABLE'], connectors };
const broken = (part: object) => ({ charging_station: { uid: 'broken', evses: [evse], ...part } });

/** Returns the station of a valid code in the format of the requested protocol. */
export function stationOf(code: string, member: 'charging_station' | 'evse'): StationBody {
  const uid = `SANDBOX-${code}`;
  return member === 'evse'
    ? { evse: { uid, evse_id: `NL*SBX*E${code}`, capabilities: evse.capabilities, connectors } }
    : { charging_station: { uid, evses: [evse] } };
}

/**
 * Returns whether a code is valid. Codes that begin with 1 can be used once, those with 2 any number of times, those
 * with 3 after 2 s.
 */
export function isValidCode(code: string): boolean {
  return /^[1-3]\d{5}$/.test(code);
}

export function json(res: ServerResponse, status: number, body: unknown): void {
  raw(res.writeHead(status, { 'content-type': 'application/json' }), 'application/json', JSON.stringify(body));
}

function raw(res: ServerResponse, type: string, body: string): void {
  if (!res.headersSent) res.writeHead(200, { 'content-type': type });
  res.end(body);
}
