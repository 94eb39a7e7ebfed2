// Pairs and unpairs stations. Needs Node and no packages:
//   export SCSP_URL=https://… SCSP_TOKEN=scsp_cpo_…
//   node caller.ts pair 012345 KIT-1; node caller.ts unpair KIT-1

/** Answers take up to 10 s. Whoever waits for less loses some. */
const DEADLINE_MS = 15_000;
const ATTEMPTS = 4;
/** The customer waits: after a longer Retry-After they are asked to come back. */
const LONGEST_PAUSE_S = 10;

type Answer = { status: number; type: string; mayBeRepetition: boolean };

/** Sends a request until there is a final answer. Each attempt has the same headers, the Idempotency-Key included. */
async function post(path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  const { SCSP_URL, SCSP_TOKEN } = process.env;
  let mayBeRepetition = false;
  for (let attempt = 1; ; attempt += 1) {
    let pauseS = attempt;
    try {
      const response = await fetch(`${SCSP_URL}${path}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${SCSP_TOKEN}`, ...headers },
        ...(body !== undefined && { body }),
        redirect: 'manual',
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
      const { status } = response;
      const { type = '' } = (await response.json().catch(() => ({}))) as { type?: string };
      const retryAfter = response.headers.get('Retry-After');
      const isFinal = retryAfter === null && status < 500;
      if (retryAfter !== null) pauseS = Number(retryAfter);
      if (isFinal || pauseS > LONGEST_PAUSE_S || attempt === ATTEMPTS) return { status, type, mayBeRepetition };
      if (status >= 500) mayBeRepetition = true;
    } catch (error) {
      // No answer: the request may have succeeded all the same.
      mayBeRepetition = true;
      if (attempt === ATTEMPTS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseS * 1_000));
  }
}

/** Pairs a station with the code that the customer typed. Any other 404 says that the address is wrong. */
export async function pair(code: string, station: { uid: string }, protocol = 'ocpp2.0.1'): Promise<string> {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': `"${crypto.randomUUID()}"` };
  const body = JSON.stringify({ code, charging_station: station });
  const { status, type, mayBeRepetition } = await post(`/v1/scsp/${protocol}/pair`, headers, body);
  if (status === 200) return 'paired';
  if (type === '/problems/station-already-paired') return mayBeRepetition ? 'paired' : 'the station is paired already';
  if (type === '/problems/incorrect-code') return 'the code is incorrect';
  if (status === 429 || status === 503) return 'try again later';
  throw new Error(`${status} ${type}`);
}

/** Unpairs a station. If the service does not know it, there is nothing left to do. */
export async function unpair(uid: string): Promise<string> {
  const { status, type } = await post(`/v1/scsp/chargingstations/${encodeURIComponent(uid)}/unpair`);
  if (status === 200 || type === '/problems/unknown-station') return 'unpaired';
  if (status === 429 || status === 503) return 'try again later';
  throw new Error(`${status} ${type}`);
}

/** Describes a station. Yours comes from your database. */
export function stationOf(uid: string) {
  const connectors = [{ id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 }];
  return { uid, evses: [{ evse_id: 1, capabilities: ['CHARGING_PROFILE_CAPABLE'], connectors }] };
}

const [verb, first = '', second = ''] = process.argv.slice(2);
if (verb === 'pair') pair(first, stationOf(second)).then(console.log);
if (verb === 'unpair') unpair(first).then(console.log);
