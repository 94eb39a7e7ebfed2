const connector = {
  type: 'object',
  required: ['id', 'power_type', 'max_voltage', 'max_amperage'],
  properties: {
    id: { type: 'string', minLength: 1, maxLength: 36 },
    power_type: { type: 'string', enum: ['AC_1_PHASE', 'AC_2_PHASE', 'AC_2_PHASE_SPLIT', 'AC_3_PHASE', 'DC'] },
    max_voltage: { type: 'integer', minimum: 1, maximum: 1500 },
    max_amperage: { type: 'integer', minimum: 1, maximum: 1000 },
  },
};

const evse = {
  type: 'object',
  required: ['evse_id', 'connectors'],
  properties: {
    evse_id: { type: 'integer', minimum: 1, maximum: 2147483647 },
    capabilities: { type: 'array', items: { type: 'string', minLength: 1, maxLength: 64 } },
    connectors: { type: 'array', minItems: 1, maxItems: 20, items: connector },
  },
};

export const stationSchema = {
  type: 'object',
  required: ['uid', 'evses'],
  properties: {
    uid: { type: 'string', minLength: 1, maxLength: 48 },
    evses: { type: 'array', minItems: 1, maxItems: 100, items: evse },
  },
};

/** What both HTTP peers validate. */
export const bodySchema = {
  type: 'object',
  required: ['code', 'charging_station'],
  properties: { code: { type: 'string', minLength: 1, maxLength: 64 }, charging_station: stationSchema },
};

type Connector = { id: string; power_type: string; max_voltage: number; max_amperage: number };
type Evse = { evse_id: number; capabilities?: string[]; connectors: Connector[] };
export type Body = { code: string; charging_station: { uid: string; evses: Evse[] } };
