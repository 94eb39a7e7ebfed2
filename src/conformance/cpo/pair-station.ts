import { JsonError, parseJson } from '../../contract/parse-json';
import { type InvalidStation, readStation } from '../../cpos/station-answer';
import { shownTo } from '../../problems';
import { isPayloadProtocol, type PayloadProtocol, protocolOf, protocols } from '../../protocols';
import { arrayMember, member } from '../../protocols/connectors';
import { allCodes } from './codes-file';
import { type CpoCheck, NEEDS_GOOD } from './cpo-check';
import { type Answered, CheckFailed, CheckNotRun } from './exchange';
import { expectStatus, type Kit } from './kit';
import { pairedInAll, redeemIn } from './pairings';

const OPERATIONS = {
  'ocpp1.6': 'cpoPairOcpp',
  'ocpp2.0.1': 'cpoPairOcpp',
  'ocpp2.1': 'cpoPairOcpp',
  'ocpi2.2': 'cpoPairOcpi22',
  'ocpi2.2.1': 'cpoPairOcpi221',
  'ocpi2.3.0': 'cpoPairOcpi230',
} as const satisfies Record<PayloadProtocol, string>;

/** Plausible voltages: line to neutral for AC, as OCPI counts them. */
const PLAUSIBLE = { AC: [100, 277], DC: [50, 1_500] } as const;

/** Returns the member of a response that describes the station. */
const shapeOf = (protocol: PayloadProtocol) =>
  protocolOf(protocol).unpairSegment === 'evse' ? 'evse' : 'charging_station';

/** Reads a response as the service does. Returns why it would be rejected, undefined if it would be accepted. */
function rejectionOf(kit: Kit, protocol: PayloadProtocol, { answer }: Answered): InvalidStation | undefined {
  const read = readStation(kit.validate, protocol, answer, [kit.token, ...allCodes(kit.codes)]);
  return 'problem' in read ? read : undefined;
}

/** Creates a check that finds the validation errors at certain pointers, in the responses of all protocols. */
const withoutErrorsAt = (pointers: RegExp) => async (kit: Kit) => {
  for (const { protocol, response } of await pairedInAll(kit)) {
    const errors = rejectionOf(kit, protocol, response)?.errors.filter(({ pointer }) => pointers.test(pointer)) ?? [];
    if (errors.length === 0) continue;
    const shown = errors.slice(0, 5).map((error) => `${error.pointer} ${shownTo(error)}`);
    throw new CheckFailed(`${protocol}: ${shown.join('; ')}`, response);
  }
};

/** Returns the EVSEs of a response in the format of its protocol. */
function evsesIn(protocol: PayloadProtocol, { answer }: Answered): unknown[] {
  try {
    const json = parseJson(answer.bytes);
    const station = member(json, shapeOf(protocol));
    if (station === undefined) return [];
    return shapeOf(protocol) === 'evse' ? [station] : arrayMember(station, 'evses');
  } catch (error) {
    if (error instanceof JsonError) return [];
    throw error;
  }
}

function implausibleVoltage(connector: unknown): string | undefined {
  const [type, voltage] = [String(member(connector, 'power_type')), Number(member(connector, 'max_voltage'))];
  const [min, max] = PLAUSIBLE[type === 'DC' ? 'DC' : 'AC'];
  return voltage < min || voltage > max ? `${voltage} V for ${type}: expected ${min} to ${max} V` : undefined;
}

const required = { level: 'required', changes: true, operation: 'cpoPairOcpp', needs: NEEDS_GOOD } as const;
const recommended = { ...required, level: 'recommended' } as const;

const protocolChecks = Object.keys(protocols)
  .filter(isPayloadProtocol)
  .map((protocol): CpoCheck => {
    const shape = shapeOf(protocol);
    return {
      ...required,
      id: `pair-${protocol}`,
      title: `A code is redeemed in ${protocol}: 200 with \`${shape}\``,
      clause: `POST {base_url}/v1/cpo/${protocol}/pair with a valid code is answered 200 with {"${shape}": …}, validated as strictly as your own requests.`,
      operation: OPERATIONS[protocol],
      remedy: `Correct what the validation errors name. If you do not serve ${protocol}, leave it out with --protocols.`,
      async run(kit) {
        if (!kit.protocols.includes(protocol)) throw new CheckNotRun(`--protocols with ${protocol}`);
        const { response } = await redeemIn(kit, protocol);
        expectStatus(response, [200], 'a code of `good`');
        if (response.answer.truncated) throw new CheckFailed('the response is larger than 65,536 bytes', response);
        const rejection = rejectionOf(kit, protocol, response);
        if (rejection !== undefined) throw new CheckFailed(rejection.problem.message, response);
      },
    };
  });

export const pairStationChecks: readonly CpoCheck[] = [
  ...protocolChecks,
  {
    ...required,
    id: 'pair-uid',
    title: 'The uid of a station has the right form',
    clause: 'uid: 1 to 48 (OCPP) or 36 (OCPI) printable ASCII characters, neither "." nor "..".',
    remedy:
      'Send the identity of the station as a string of at most 48 (OCPP) or 36 (OCPI) printable ASCII characters.',
    run: withoutErrorsAt(/^\/(charging_station|evse)\/uid$/),
  },
  {
    ...required,
    id: 'pair-evses',
    title: 'A station has EVSEs with unique ids',
    clause: 'evses: 1 to 100; evse_id (OCPP): an integer of at least 1, unique in the station; capabilities: strings.',
    remedy: 'Send every EVSE once. For OCPP 1.6 send the connector id as evse_id.',
    run: withoutErrorsAt(/\/(evses|evses\/\d+|evse_id|capabilities(\/\d+)?)$/),
  },
  {
    ...required,
    id: 'pair-connectors',
    title: 'Each EVSE has connectors with unique ids and a power type',
    clause:
      'connectors: 1 to 20 for an EVSE; id: 1 to 36 printable ASCII characters, unique in the EVSE; power_type is required.',
    remedy: 'Send the connectors of each EVSE with `id` and `power_type`.',
    run: withoutErrorsAt(/\/(connectors|connectors\/\d+|connectors\/\d+\/(id|power_type|standard|format))$/),
  },
  {
    ...required,
    id: 'pair-units',
    title: 'Voltage, current and power are integers in V, A and W',
    clause: 'max_voltage: 1 to 1500 V; max_amperage: 1 to 1000 A; max_electric_power: 1 to 1,000,000 W; integers.',
    remedy: 'Send integers in V, A and W, not in mV, mA or kW.',
    run: withoutErrorsAt(/\/max_(voltage|amperage|electric_power)$/),
  },
  {
    ...recommended,
    id: 'pair-plausible-voltages',
    title: 'Voltages are plausible for the power type',
    clause: 'max_voltage is line to neutral for three phases (OCPI 2.2.1, Connector): 230, not 400.',
    remedy: 'Send the voltage between line and neutral.',
    async run(kit) {
      for (const { protocol, response } of await pairedInAll(kit))
        for (const connector of evsesIn(protocol, response).flatMap((evse) => arrayMember(evse, 'connectors'))) {
          const mistake = implausibleVoltage(connector);
          if (mistake !== undefined) throw new CheckFailed(mistake, response);
        }
    },
  },
  {
    ...recommended,
    id: 'pair-charging-profile-capable',
    title: 'Each EVSE is CHARGING_PROFILE_CAPABLE',
    clause: 'Smart charging sends charging profiles to the station; `capabilities` says that it accepts them.',
    remedy: 'Add CHARGING_PROFILE_CAPABLE to the capabilities of each EVSE that accepts charging profiles.',
    async run(kit) {
      for (const { protocol, response } of await pairedInAll(kit))
        for (const evse of evsesIn(protocol, response))
          if (!arrayMember(evse, 'capabilities').includes('CHARGING_PROFILE_CAPABLE'))
            throw new CheckFailed('an EVSE lacks the capability CHARGING_PROFILE_CAPABLE', response);
    },
  },
];
