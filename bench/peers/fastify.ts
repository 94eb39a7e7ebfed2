import { createHash } from 'node:crypto';
import Fastify from 'fastify';
import { Pool } from 'pg';
import { v7 } from 'uuid';
import { hashCode } from '../../src/codes/code';
import { deriveKeys } from '../../src/secrets';
import { SECRET_KEY } from '../world';

/**
 * The toughest peer: Fastify 5 with ajv and a serializer, tokens from memory, pg with one prepared statement that does
 * the pairing and nothing else (no limits, no attempts, no events, no long poll woken).
 */
const PAIR = `
with used as (
  update pairing_codes set status = 'used', ended_at = now()
  where length = $1 and hash = $2 and status = 'active' and expires_at > now() and (cpo_id is null or cpo_id = $3)
  returning id, user_id, charging_location_id
), paired as (
  insert into pairings (id, code_id, cpo_id, station_uid, user_id, charging_location_id)
  select $4, id, $3, $5, user_id, charging_location_id from used returning id
), station as (
  insert into stations (pairing_id, uid, payload_protocol) select id, $6, $7 from paired
), evse as (
  insert into evses (pairing_id, position, evse_id, capabilities)
  select p.id, e.position, e.evse_id, e.capabilities from paired p,
    rows from (jsonb_to_recordset($8::jsonb) as (evse_id text, capabilities text[])) with ordinality as e (evse_id, capabilities, position)
), connector as (
  insert into connectors (pairing_id, evse_position, position, connector_id, power_type, max_voltage, max_amperage)
  select p.id, e.position, c.position, c.id, c.power_type, c.max_voltage, c.max_amperage from paired p,
    rows from (jsonb_to_recordset($8::jsonb) as (connectors jsonb)) with ordinality as e (connectors, position),
    rows from (jsonb_to_recordset(e.connectors) as (id text, power_type text, max_voltage int, max_amperage int))
      with ordinality as c (id, power_type, max_voltage, max_amperage, position)
)
select id from paired`;

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
const station = {
  type: 'object',
  required: ['uid', 'evses'],
  properties: {
    uid: { type: 'string', minLength: 1, maxLength: 48 },
    evses: { type: 'array', minItems: 1, maxItems: 100, items: evse },
  },
};

type Body = { code: string; charging_station: { uid: string; evses: unknown[] } };

async function main(): Promise<void> {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  const { rows } = await pool.query(`select encode(hash, 'hex') as hash, cpo_id from tokens`);
  const tokens = new Map(rows.map(({ hash, cpo_id }) => [hash, cpo_id]));
  const [key] = deriveKeys(SECRET_KEY).pairingCode;

  const app = Fastify({ logger: { level: 'info', file: '/dev/null' }, bodyLimit: 65_536 });
  app.post<{ Body: Body; Params: { protocol: string } }>(
    '/v1/scsp/:protocol/pair',
    {
      schema: {
        body: {
          type: 'object',
          required: ['code', 'charging_station'],
          properties: { code: { type: 'string', minLength: 1, maxLength: 64 }, charging_station: station },
        },
        response: { 200: { type: 'object', properties: { message: { type: 'string' }, charging_station: station } } },
      },
      onRequest: async (request, reply) => {
        const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
        const cpoId = tokens.get(createHash('sha256').update(token).digest('hex'));
        if (cpoId === undefined) return reply.code(401).send({ message: 'Unauthorized' });
        request.headers['x-cpo'] = cpoId;
      },
    },
    async (request, reply) => {
      const { code, charging_station: sent } = request.body;
      const values = [
        code.length,
        hashCode(key as Buffer, code),
        request.headers['x-cpo'],
        v7(),
        sent.uid.toLowerCase(),
        sent.uid,
        request.params.protocol,
        JSON.stringify(sent.evses),
      ];
      try {
        const { rowCount } = await pool.query({ name: 'pair', text: PAIR, values });
        if (rowCount === 0)
          return reply.code(404).send({ message: 'Incorrect Code, please check the code and try again.' });
      } catch (error) {
        if ((error as { code?: string }).code !== '23505') throw error;
        return reply.code(409).send({ message: 'Already paired' });
      }
      return { message: 'Charging station successfully paired.', charging_station: sent };
    },
  );
  await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
  process.stdout.write('listening\n');
}

void main();
