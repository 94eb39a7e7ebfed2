import type { Schemas } from '../contract/document';
import type { Fault } from '../problems';
import type { Station } from '../stations/station';
import { ocpi } from './ocpi';
import { ocpp } from './ocpp';

export type OcppBody = { charging_station: Schemas['ChargingStation'] };
export type OcpiBody = { evse: Schemas['OcpiEvse'] };
/** The member of a request, answer or pairing that describes the station. */
export type StationBody = OcppBody | OcpiBody;

/** A pure translator between one payload format and the core. */
export type Protocol<Body extends StationBody = StationBody> = {
  read(body: Body): Station;
  write(station: Station): Body;
  /** What the contract forbids and a JSON Schema cannot state, in JSON of any shape. */
  readonly faults: (body: unknown) => Fault[];
  /** The schema of a CPO's answer to a code of its own. */
  readonly answerSchema: string;
  /** The segment before `{uid}/unpair`. */
  readonly unpairSegment: 'chargingstations' | 'evse';
};

/** Every payload protocol that is spoken here, by its name in the path. */
export const protocols = {
  'ocpp1.6': ocpp,
  'ocpp2.0.1': ocpp,
  'ocpp2.1': ocpp,
  'ocpi2.2': ocpi,
  'ocpi2.2.1': ocpi,
  'ocpi2.3.0': ocpi,
} satisfies Record<string, Protocol>;

export type PayloadProtocol = keyof typeof protocols;

/** Whether this is the name of a payload protocol that is spoken here. */
export function isPayloadProtocol(name: string): name is PayloadProtocol {
  return Object.hasOwn(protocols, name);
}

/** The translator of a stored protocol name. */
export function protocolOf(name: string): Protocol {
  return protocols[name as PayloadProtocol];
}
