import type { Schemas } from '../contract/document';
import { ocpi } from './ocpi';
import { ocpp } from './ocpp';
import type { Protocol } from './protocol';

/** Every payload protocol of the contract, by its name in the path. */
export const protocols = {
  'ocpp1.6': ocpp,
  'ocpp2.0.1': ocpp,
  'ocpp2.1': ocpp,
  'ocpi2.2': ocpi,
  'ocpi2.2.1': ocpi,
  'ocpi2.3.0': ocpi,
} satisfies Record<Schemas['RedeemRequest']['payload_protocol'], Protocol>;

export type PayloadProtocol = keyof typeof protocols;

/** Whether this is the name of a payload protocol that is spoken here. */
export function isPayloadProtocol(name: string): name is PayloadProtocol {
  return Object.hasOwn(protocols, name);
}

/** The translator of a stored protocol name. */
export function protocolOf(name: string): Protocol {
  return protocols[name as PayloadProtocol];
}
