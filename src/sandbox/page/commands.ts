import { stationExample } from '../../site/quick-start';

/** What a command sends as token: the token itself, or the variable of the shell that holds it. */
export const TOKEN_VARIABLE = '$TOKEN';

/** Pairs a station by a test code. */
export function pairCommand(server: string, token: string, code: string): string {
  const uid = code === '100000' ? 'first-station' : `station-${code}`;
  // A retry after the lost answer to 000504 gets the stored response, which shows what a key is for.
  const key = code === '000504' ? uid : `${uid}-$(date +%s)`;
  return `curl -s ${server}/v1/scsp/ocpp2.0.1/pair \\
  -H "Authorization: Bearer ${token}" \\
  -H 'Content-Type: application/json' -H "Idempotency-Key: ${key}" \\
  -d '{"code": "${code}", "charging_station": ${stationExample(uid)}}'`;
}

export function unpairCommand(server: string, token: string, uid: string): string {
  return `curl -s -X POST ${server}/v1/scsp/chargingstations/${uid}/unpair \\
  -H "Authorization: Bearer ${token}"`;
}
