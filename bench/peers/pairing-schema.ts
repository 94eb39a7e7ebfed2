const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const integer = (maximum: number) => ({ type: 'integer', minimum: 1, maximum });
const list = (items: object, maxItems: number) => ({ type: 'array', minItems: 1, maxItems, items });
const object = (properties: object, optional = {}) => ({
  type: 'object',
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});

const power = { type: 'string', enum: ['AC_1_PHASE', 'AC_2_PHASE', 'AC_2_PHASE_SPLIT', 'AC_3_PHASE', 'DC'] };
const connector = object({ id: text(36), power_type: power, max_voltage: integer(1500), max_amperage: integer(1000) });
const evse = object(
  { evse_id: integer(2 ** 31 - 1), connectors: list(connector, 20) },
  { capabilities: { type: 'array', items: text(64) } },
);

/** JSON Schema of a station and of the body of a pairing, for both HTTP peers. */
export const stationSchema = object({ uid: text(48), evses: list(evse, 100) });
export const bodySchema = object({ code: text(64), charging_station: stationSchema });

type Connector = { id: string; power_type: string; max_voltage: number; max_amperage: number };
type Evse = { evse_id: number; capabilities?: string[]; connectors: Connector[] };
export type Body = { code: string; charging_station: { uid: string; evses: Evse[] } };
