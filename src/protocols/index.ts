import type { Schemas } from '../contract/document';
import { ocpi } from './ocpi';
import { ocpp } from './ocpp';
import type { Protocol } from './protocol';

/** Maps each supported payload protocol, by its name in the path, to its translator. */
export const protocols = {
  'ocpp1.6': ocpp,
  'ocpp2.0.1': ocpp,
  'ocpp2.1': ocpp,
  'ocpi2.2': ocpi,
  'ocpi2.2.1': ocpi,
  'ocpi2.3.0': ocpi,
} satisfies Record<Schemas['RedeemRequest']['payload_protocol'], Protocol>;

export type PayloadProtocol = keyof typeof protocols;

/** Returns whether a name is that of a supported payload protocol. */
export function isPayloadProtocol(name: string): name is PayloadProtocol {
  return Object.hasOwn(protocols, name);
}

/** Returns the translator of a payload protocol. */
export function protocolOf(name: PayloadProtocol): Protocol {
  return protocols[name];
}

/**
 * Returns the translator of a protocol that is stored with a pairing.
 * @throws Error if a later version has stored it and this one does not know it
 */
export function storedProtocolOf(name: string): Protocol {
  if (!isPayloadProtocol(name)) throw new Error(`the stored payload protocol ${name} is unknown to this version`);
  return protocolOf(name);
}
