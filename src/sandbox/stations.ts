import { setTimeout as sleep } from 'node:timers/promises';
import type { Behaviour } from './behaviour';
import { json, type Outcome } from './reply';
import { delayOf, INCORRECT_CODE, scenarios, stationOf, UNAVAILABLE_ONCE } from './scenarios';

const UNKNOWN_STATION = { message: 'The specified charging station is not valid or does not exist.' };
const UNPAIRED = { message: 'Charging station successfully unpaired.' };
const LATE_USE_MS = 50;

/** The member of a response that describes the station. */
export type Member = 'charging_station' | 'evse';

/** Creates the stations of the sandbox CPO, which remember what was paired and unpaired. */
export function createStations(behaviour: Behaviour) {
  const used = new Set<string>();
  const unpaired = new Map<string, number>();
  let pairings = 0;

  const pair = async (sent: string, member: Member): Promise<Outcome> => {
    const code = behaviour.readCode(sent);
    const scenario = Object.hasOwn(scenarios, code) ? scenarios[code] : undefined;
    if (scenario !== undefined) return scenario;
    if (!behaviour.isValidCode(code) || used.has(code)) return json(404, INCORRECT_CODE);
    if (!behaviour.pairsAgain && unpaired.has(code)) return json(404, INCORRECT_CODE);
    if (behaviour.usesLate) await sleep(LATE_USE_MS);
    const unavailable = code === UNAVAILABLE_ONCE && !used.has(`${code} once`);
    if (unavailable) {
      used.add(`${code} once`);
      return json(503, { message: 'Temporarily unavailable.' }, { 'retry-after': '1' });
    }
    if (behaviour.isUsedUp(code)) used.add(code);
    pairings += 1;
    return { ...json(200, stationOf(behaviour.uidOf(code, pairings), code, member)), afterMs: delayOf(code) };
  };

  /** Unpairs a station. If its code ends in 9, the first two requests fail, like those to a backend that is restarting. */
  const unpair = (uid: string): Outcome => {
    const code = behaviour.codeOfUid(uid);
    if (code === undefined) return json(404, UNKNOWN_STATION);
    const times = (unpaired.get(code) ?? 0) + 1;
    unpaired.set(code, times);
    if (code.endsWith('9') && times <= 2) return json(500, { message: 'Internal server error.' });
    used.delete(code);
    used.delete(`${code} once`);
    return behaviour.onUnpair(json(200, UNPAIRED), times);
  };

  return { pair, unpair };
}
