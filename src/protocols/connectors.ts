import type { Schemas } from '../contract/document';
import type { ValidationError } from '../problems';
import { type Connector, repeated } from '../stations/station';

/** Names every member, optional ones too, so that the compiler reports one that is not written. */
export type Written<Wire> = { [Member in keyof Required<Wire>]: Wire[Member] };

/** OCPP and OCPI payloads describe connectors alike (OCPI 2.2.1, 8.3.2). */
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

/** Faults that a JSON Schema cannot state: connector ids that repeat. `wire` may be any JSON. */
export function connectorErrors(wire: unknown, pointer: string): ValidationError[] {
  const connectors = listIn(wire, 'connectors');
  return repeated(connectors.map((connector) => member(connector, 'id'))).map((position) => ({
    pointer: `${pointer}/connectors/${position}/id`,
    message: 'is used by another connector of this EVSE; case does not count',
  }));
}

/** A member of any JSON value. */
export function member(wire: unknown, name: string): unknown {
  return typeof wire === 'object' && wire !== null ? Reflect.get(wire, name) : undefined;
}

/** A list in any JSON value, empty when there is none. */
export function listIn(wire: unknown, name: string): unknown[] {
  const list = member(wire, name);
  return Array.isArray(list) ? list : [];
}
