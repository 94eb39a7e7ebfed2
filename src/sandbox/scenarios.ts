import type { StationBody } from '../protocols/protocol';
import { json, type Outcome, raw } from './reply';

export const INCORRECT_CODE = { message: 'Incorrect Code, please check the code and try again.' };
const LATE_MS = 9_000;
const WITHHELD_MS = 20_000;
const SLOW_MS = 2_000;

const connectors = [{ id: '1', power_type: 'AC_3_PHASE' as const, max_voltage: 220, max_amperage: 16 }];
const evse = { evse_id: 1, capabilities: ['CHARGING_PROFILE_CAPABLE'], connectors };
const broken = (part: object) => ({ charging_station: { uid: 'broken', evses: [evse], ...part } });

/** The codes of the sandbox CPO that always have the same outcome. `docs/sandbox.md` lists them. */
export const scenarios: Readonly<Record<string, Outcome>> = {
  '000307': { reply: { status: 307, headers: { location: '/elsewhere' }, body: '' } },
  '000400': json(400, { message: 'Bad request.' }),
  '000401': json(401, { message: 'Unauthorized.' }, { 'www-authenticate': 'Bearer' }),
  '000404': json(404, INCORRECT_CODE),
  '000429': json(429, { message: 'Too many requests.' }, { 'retry-after': '2' }),
  '000500': json(500, { message: 'Internal server error.' }),
  // Closes the connection.
  '000501': {},
  '000502': { afterMs: Number.POSITIVE_INFINITY },
  '000504': { afterMs: WITHHELD_MS },
  '000601': raw(200, 'application/json', '{"charging_station": {'),
  '000602': raw(200, 'text/html', '<h1>It works!</h1>'),
  '000603': json(200, broken({ evses: [] })),
  '000604': json(200, broken({ uid: undefined })),
  '000605': json(200, {}),
  '000606': raw(200, 'application/json', `"${'x'.repeat(1_000_000)}"`),
  '000607': json(200, broken({ evses: [evse, evse] })),
};

/** The code that is answered 503 the first time, and with a station afterwards. */
export const UNAVAILABLE_ONCE = '000503';
/** The code whose station comes late, but within the deadline. */
const LATE = '000200';

/** Returns the milliseconds after which the station of a valid code is sent. */
export const delayOf = (code: string): number => (code === LATE ? LATE_MS : code.startsWith('3') ? SLOW_MS : 0);

/**
 * Returns whether a code is valid. Codes that begin with 1 can be used once, those with 2 any number of times, those with 3
 * after 2 s. Those with 4 have been used and those with 5 have expired, for the conformance kit.
 */
export const isValidCode = (code: string): boolean =>
  /^[1-3]\d{5}$/.test(code) || code === UNAVAILABLE_ONCE || code === LATE;

/** Returns whether a code is used up by the pairing that it makes. */
export const isUsedUp = (code: string): boolean => code.startsWith('1');

export const uidOf = (code: string): string => `SANDBOX-${code}`;

/** Returns the code of the station with this uid, undefined for an unknown uid. */
export function codeOfUid(uid: string): string | undefined {
  const code = /^SANDBOX-(\d{6})$/i.exec(uid)?.[1];
  return code !== undefined && isValidCode(code) ? code : undefined;
}

/** Returns the station of a valid code in the format of the requested protocol. */
export function stationOf(uid: string, code: string, member: 'charging_station' | 'evse'): StationBody {
  return member === 'evse'
    ? { evse: { uid, evse_id: `NL*SBX*E${code}`, capabilities: evse.capabilities, connectors } }
    : { charging_station: { uid, evses: [evse] } };
}

/** The codes to check the sandbox CPO with: the content of `codes.json` (`scsp conformance cpo --codes`). */
export const sandboxCodes = {
  good: ['100001', '100002', '100003', '100004', '100005', '100006', '100007', '100008'],
  same_station: ['200000', '200000'],
  used: '400000',
  expired: '500000',
};
