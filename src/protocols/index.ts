import type { Schemas } from '../contract';
import type { Fault } from '../problems';
import type { Station } from '../stations/station';
import { ocpp } from './ocpp';

/** What each payload calls the station, and its shape on the wire. */
export type WireStation = { charging_station: Schemas['ChargingStation'] };

/** A pure translator between one payload format and the core. */
export type Protocol<Member extends keyof WireStation> = {
  /** The member of a body that holds the station. */
  readonly member: Member;
  read(wire: WireStation[Member]): Station;
  write(station: Station): WireStation[Member];
  /** What the contract forbids and a JSON Schema cannot state, in JSON of any shape. */
  faults(wire: unknown): Fault[];
};

/** Every payload protocol that is spoken here, by its name in the path. */
export const protocols = {
  'ocpp1.6': ocpp,
  'ocpp2.0.1': ocpp,
  'ocpp2.1': ocpp,
} as const;

export type PayloadProtocol = keyof typeof protocols;
