import type { Schemas } from '../contract/document';
import type { ValidationError } from '../problems';
import type { Station } from '../stations/station';

export type OcppBody = { charging_station: Schemas['ChargingStation'] };
export type OcpiBody = { evse: Schemas['OcpiEvse'] };
/** The member of a request, response or pairing that describes the station. */
export type StationBody = OcppBody | OcpiBody;

/** Translates between one payload format and the core's `Station`; has no side effects. */
export type Protocol<Body extends StationBody = StationBody> = {
  read(body: Body): Station;
  write(station: Station): Body;
  /** Returns the validation errors that JSON Schema cannot express. `body` may be any JSON. */
  readonly semanticErrors: (body: unknown) => ValidationError[];
  /** Names the schema of the CPO's response when a CPO-issued code is redeemed. */
  readonly responseSchema: string;
  /** The path segment before `{uid}/unpair`. */
  readonly unpairSegment: 'chargingstations' | 'evse';
};
