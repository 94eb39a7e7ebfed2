import { EntitySchema } from 'typeorm';

export type StationRow = { pairingId: string; uid: string; payloadProtocol: string };

export const stations = new EntitySchema<StationRow>({
  name: 'stations',
  columns: {
    pairingId: { name: 'pairing_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'stations_pkey' },
    uid: { type: 'text' },
    payloadProtocol: { name: 'payload_protocol', type: 'text' },
  },
  foreignKeys: [
    {
      name: 'stations_pairing_id_fkey',
      target: 'pairings',
      columnNames: ['pairingId'],
      referencedColumnNames: ['id'],
      onDelete: 'CASCADE',
    },
  ],
});

export type EvseRow = {
  pairingId: string;
  position: number;
  evseId: string | null;
  capabilities: string[] | null;
};

export const evses = new EntitySchema<EvseRow>({
  name: 'evses',
  columns: {
    pairingId: { name: 'pairing_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'evses_pkey' },
    position: { type: 'smallint', primary: true, primaryKeyConstraintName: 'evses_pkey' },
    evseId: { name: 'evse_id', type: 'text', nullable: true },
    capabilities: { type: 'text', array: true, nullable: true },
  },
  foreignKeys: [
    {
      name: 'evses_pairing_id_fkey',
      target: 'stations',
      columnNames: ['pairingId'],
      referencedColumnNames: ['pairingId'],
      onDelete: 'CASCADE',
    },
  ],
});

export type ConnectorRow = {
  pairingId: string;
  evsePosition: number;
  position: number;
  connectorId: string;
  powerType: string;
  maxVoltage: number;
  maxAmperage: number;
  standard: string | null;
  format: string | null;
  maxElectricPower: number | null;
};

const key = { primary: true, primaryKeyConstraintName: 'connectors_pkey' } as const;

export const connectors = new EntitySchema<ConnectorRow>({
  name: 'connectors',
  columns: {
    pairingId: { name: 'pairing_id', type: 'uuid', ...key },
    evsePosition: { name: 'evse_position', type: 'smallint', ...key },
    position: { type: 'smallint', ...key },
    connectorId: { name: 'connector_id', type: 'text' },
    powerType: { name: 'power_type', type: 'text' },
    maxVoltage: { name: 'max_voltage', type: 'integer' },
    maxAmperage: { name: 'max_amperage', type: 'integer' },
    standard: { type: 'text', nullable: true },
    format: { type: 'text', nullable: true },
    maxElectricPower: { name: 'max_electric_power', type: 'integer', nullable: true },
  },
  foreignKeys: [
    {
      name: 'connectors_evse_fkey',
      target: 'evses',
      columnNames: ['pairingId', 'evsePosition'],
      referencedColumnNames: ['pairingId', 'position'],
      onDelete: 'CASCADE',
    },
  ],
});
