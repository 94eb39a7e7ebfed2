import type { ObservedRequest } from './observed';

/** What to do with the caller: pair a station with a code, unpair it, or both one after the other. */
export type Step = {
  readonly uid: string;
  readonly code?: string;
  readonly unpair?: true;
  /** What the kit does, or why the step is there. */
  readonly about: string;
};

/** The steps of a run, in no particular order. Each has a station of its own. */
export const steps: readonly Step[] = [
  { uid: 'KIT-1', code: '012345', about: 'the code begins with a zero' },
  { uid: 'KIT-2', code: '000404', about: 'the code is incorrect' },
  { uid: 'KIT-3', code: '000414', about: 'the code is incorrect, and message has another text' },
  { uid: 'KIT-4', code: '000409', about: 'the station is paired already' },
  { uid: 'KIT-5', code: '000429', about: 'too many incorrect codes, with Retry-After' },
  { uid: 'KIT-6', code: '000503', about: 'the service is not available the first time, with Retry-After' },
  { uid: 'KIT-7', code: '000504', unpair: true, about: 'the station is paired, but the answer is lost' },
  { uid: 'KIT-8', code: '000200', about: 'the answer takes 9 s' },
  { uid: 'KIT-9', code: '000307', about: 'the answer is a redirect' },
  { uid: 'KIT-10', code: '100001', unpair: true, about: 'the answer has new members' },
  { uid: 'KIT-11', code: '100002', unpair: true, about: 'message has another text' },
  { uid: 'KIT/12#50%', code: '100003', unpair: true, about: 'the uid has to be encoded' },
  { uid: 'KIT-13', unpair: true, about: 'the station is not paired' },
];

/** Returns the first step of which nothing has come. */
export function nextStep(requests: readonly ObservedRequest[]): Step | undefined {
  const isDone = ({ uid, code, unpair }: Step) =>
    requests.some((request) => request.operation === 'pair' && request.code === code) ||
    (unpair && requests.some((request) => request.operation === 'unpair' && request.uid === uid));
  return steps.find((step) => !isDone(step));
}

/** Formats a step as an instruction. */
export function instruction({ uid, code, unpair, about }: Step): string {
  const actions = [code && `pair ${uid} with the code ${code}`, unpair && (code ? 'then unpair it' : `unpair ${uid}`)];
  return `${actions.filter(Boolean).join(', ')}  (${about})`;
}

const connectors = [{ id: '1', power_type: 'AC_3_PHASE', max_voltage: 220, max_amperage: 16 }];
const capabilities = ['CHARGING_PROFILE_CAPABLE'];

/** The station of a step, as the two formats describe it. */
export const exampleStations = {
  charging_station: { uid: 'KIT-1', evses: [{ evse_id: 1, capabilities, connectors }] },
  evse: { uid: 'KIT-1', evse_id: 'NL*KIT*E1', capabilities, connectors },
} as const;
