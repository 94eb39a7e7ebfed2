import { createHash } from 'node:crypto';
import Fastify from 'fastify';
import { Pool } from 'pg';
import { v7 } from 'uuid';
import { hashCode } from '../../src/codes/code';
import { CODE_KEY } from '../database';
import { PAIR } from './lean-statement';
import { type Body, bodySchema, stationSchema } from './pairing-schema';

/**
 * The fastest peer: Fastify 5 with ajv and a serializer, tokens in memory, pg with one prepared statement that pairs and does
 * nothing else.
 */
async function main(): Promise<void> {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  // PostgreSQL ends idle connections when the benchmark fails or is interrupted.
  pool.on('error', () => undefined);
  const { rows } = await pool.query(`select encode(hash, 'hex') as hash, cpo_id from tokens`);
  const tokens = new Map(rows.map(({ hash, cpo_id }) => [hash, cpo_id]));

  const app = Fastify({ logger: { level: 'info', file: '/dev/null' }, bodyLimit: 65_536 });
  app.post<{ Body: Body; Params: { protocol: string } }>(
    '/v1/scsp/:protocol/pair',
    {
      schema: {
        body: bodySchema,
        response: {
          200: { type: 'object', properties: { message: { type: 'string' }, charging_station: stationSchema } },
        },
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
        hashCode(CODE_KEY, code),
        request.headers['x-cpo'],
        v7(),
        sent.uid.toLowerCase(),
        sent.uid,
        request.params.protocol,
        JSON.stringify(sent.evses),
      ];
      try {
        const { rowCount } = await pool.query({ name: 'pair', text: PAIR, values });
        if (rowCount === 0) return reply.code(404).send({ message: 'Incorrect code' });
      } catch (error) {
        if ((error as { code?: string }).code !== '23505') throw error;
        return reply.code(409).send({ message: 'Already paired' });
      }
      return { message: 'Charging station successfully paired.', charging_station: sent };
    },
  );
  await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
}

void main();
