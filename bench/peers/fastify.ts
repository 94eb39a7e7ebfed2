import { createHash } from 'node:crypto';
import Fastify from 'fastify';
import { Pool } from 'pg';
import { v7 } from 'uuid';
import { hashCode } from '../../src/codes/code';
import { deriveKeys } from '../../src/crypto/keys';
import { SECRET_KEY } from '../world';
import { PAIR_ONLY } from './one-statement';

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

/**
 * The toughest peer: Fastify 5 with ajv and a serializer, tokens from memory, pg with one prepared statement that does
 * the pairing and nothing else.
 */
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
        const { rowCount } = await pool.query({ name: 'pair', text: PAIR_ONLY, values });
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
