import type { Received } from '../behaviour';
import { json, type Outcome } from '../reply';
import { changing, type Mutant, statusOf, withBody } from './change';

type Body = Record<string, unknown>;
type Evse = { connectors: object[] };

/** Creates a mutant that changes the station in 200 responses to pair. */
const changingStation = (path: RegExp, change: (body: Body) => Body): Mutant =>
  changing(
    ({ kind, path: at }) => kind === 'pair' && path.test(at),
    (outcome) => (statusOf(outcome) === 200 ? withBody(outcome, change) : outcome),
  );

/** Changes each EVSE of a body in either format. */
const eachEvse = (body: Body, change: (evse: Evse) => object): Body => {
  const { charging_station: station, evse }: { charging_station?: { evses: Evse[] }; evse?: Evse } = body;
  if (evse !== undefined) return { evse: change(evse) };
  return { charging_station: { ...station, evses: station?.evses.map(change) } };
};

const eachConnector = (body: Body, part: object): Body =>
  eachEvse(body, (evse) => ({ ...evse, connectors: evse.connectors.map((connector) => ({ ...connector, ...part })) }));

/** Creates a mutant that answers in the shape of the other family of protocols. */
const inWrongShape = (protocol: string): Mutant =>
  changingStation(new RegExp(`/${protocol.replaceAll('.', '\\.')}/pair$`), (body) =>
    'evse' in body ? { charging_station: body.evse } : { evse: body.charging_station },
  );

const ONE_PROTOCOL = /\/ocpp2\.0\.1\//;
const ALL = /./;

const sentCode = ({ body }: Received) => String(Object(body).code);
const serverError = (): Outcome => json(500, { message: 'Internal server error.' });
const isEmpty = ({ headers }: Received) => headers['content-length'] === '0';
const isNoJson = ({ body, headers }: Received) => body === undefined && headers['content-length'] !== '0';

/** Each breaks the rule of the check that it is named after. */
export const pairMutants = {
  'pair-ocpp1.6': inWrongShape('ocpp1.6'),
  'pair-ocpp2.0.1': inWrongShape('ocpp2.0.1'),
  'pair-ocpp2.1': inWrongShape('ocpp2.1'),
  'pair-ocpi2.2': inWrongShape('ocpi2.2'),
  'pair-ocpi2.2.1': inWrongShape('ocpi2.2.1'),
  'pair-ocpi2.3.0': inWrongShape('ocpi2.3.0'),
  'pair-uid': changingStation(ONE_PROTOCOL, ({ charging_station }) => ({
    charging_station: { ...Object(charging_station), uid: 'x'.repeat(49) },
  })),
  'pair-evses': changingStation(ONE_PROTOCOL, ({ charging_station }) => {
    const { evses } = Object(charging_station);
    return { charging_station: { ...Object(charging_station), evses: [...evses, ...evses] } };
  }),
  'pair-connectors': changingStation(ONE_PROTOCOL, (body) => eachEvse(body, (evse) => ({ ...evse, connectors: [] }))),
  'pair-units': changingStation(ONE_PROTOCOL, (body) => eachConnector(body, { max_amperage: 16_000 })),
  'pair-plausible-voltages': changingStation(ALL, (body) => eachConnector(body, { max_voltage: 400 })),
  'pair-charging-profile-capable': changingStation(ALL, (body) =>
    eachEvse(body, (evse) => ({ ...evse, capabilities: ['RFID_READER'] })),
  ),
  'pair-incorrect-code': changing(
    ({ kind }) => kind === 'pair',
    (outcome) => (statusOf(outcome) === 404 ? json(404, {}) : outcome),
  ),
  'pair-empty-body': changing((received) => received.kind === 'rejected' && isEmpty(received), serverError400),
  'pair-broken-body': changing((received) => received.kind === 'rejected' && isNoJson(received), serverError400),
  'pair-odd-codes': changing(
    (received) => received.kind === 'pair' && /[^\x20-\x7e]/.test(sentCode(received)),
    serverError,
  ),
  'pair-unknown-members': changing(
    ({ kind, body }) => kind === 'pair' && Object.keys(Object(body)).length > 1,
    () => json(400, { message: 'Unknown member.' }),
  ),
} satisfies Record<string, Mutant>;

/** Turns a 400 into a 500. */
function serverError400(outcome: Outcome): Outcome {
  return statusOf(outcome) === 400 ? serverError() : outcome;
}
