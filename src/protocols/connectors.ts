import type { Schemas } from '../contract/document';
import type { ValidationError } from '../problems';
import { type Connector, duplicatePositions } from '../stations/station';

/** Names every member, optional ones too, so that the compiler reports one that is not written. */
export type Written<Wire> = { [Member in keyof Required<Wire>]: Wire[Member] };

/** Reads a connector. OCPP and OCPI payloads share this format (OCPI 2.2.1, 8.3.2). */
export function readConnector(wire: Schemas['Connector']): Connector {
  return {
    id: wire.id,
    powerType: wire.power_type,
    maxVoltage: wire.max_voltage,
    maxAmperage: wire.max_amperage,
    standard: wire.standard,
    format: wire.format,
    maxElectricPower: wire.max_electric_power,
  };
}

export function writeConnector(connector: Connector): Written<Schemas['Connector']> {
  return {
    id: connector.id,
    power_type: connector.powerType as Schemas['Connector']['power_type'],
    max_voltage: connector.maxVoltage,
    max_amperage: connector.maxAmperage,
    standard: connector.standard,
    format: connector.format as Schemas['Connector']['format'],
    max_electric_power: connector.maxElectricPower,
  };
}

/** Returns the errors that JSON Schema cannot express: duplicate connector ids. `wire` may be any JSON. */
export function connectorErrors(wire: unknown, pointer: string): ValidationError[] {
  const connectors = arrayMember(wire, 'connectors');
  return duplicatePositions(connectors.map((connector) => member(connector, 'id'))).map((position) => ({
    pointer: `${pointer}/connectors/${position}/id`,
    message: 'is used by another connector of this EVSE (compared case-insensitively)',
  }));
}

/** Returns a member of any JSON value, undefined if there is none. */
export function member(wire: unknown, name: string): unknown {
  return typeof wire === 'object' && wire !== null ? Reflect.get(wire, name) : undefined;
}

/** Returns an array member of any JSON value, empty if there is none. */
export function arrayMember(wire: unknown, name: string): unknown[] {
  const list = member(wire, name);
  return Array.isArray(list) ? list : [];
}
