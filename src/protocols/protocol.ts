import type { Schemas } from '../contract/document';
import type { ValidationError } from '../problems';
import type { Station } from '../stations/station';

export type OcppBody = { charging_station: Schemas['ChargingStation'] };
export type OcpiBody = { evse: Schemas['OcpiEvse'] };
/** The member of a request, answer or pairing that describes the station. */
export type StationBody = OcppBody | OcpiBody;

/** A pure translator between one payload format and the core. */
export type Protocol<Body extends StationBody = StationBody> = {
  read(body: Body): Station;
  write(station: Station): Body;
  /** What the contract forbids and a JSON Schema cannot state, in JSON of any shape. */
  readonly faults: (body: unknown) => ValidationError[];
  /** The schema of a CPO's answer to a code of its own. */
  readonly answerSchema: string;
  /** The segment before `{uid}/unpair`. */
  readonly unpairSegment: 'chargingstations' | 'evse';
};
