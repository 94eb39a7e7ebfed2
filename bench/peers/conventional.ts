import { createHash, randomUUID } from 'node:crypto';
import Ajv from 'ajv';
import express from 'express';
import { DataSource, EntitySchema } from 'typeorm';
import { hashCode } from '../../src/codes/code';
import { deriveKeys } from '../../src/crypto/keys';
import { SECRET_KEY } from '../world';

/**
 * The conventional build: Express with express.json, a token look-up, ajv, and a TypeORM transaction that finds the code,
 * looks whether the uid is taken, and saves the pairing with its station, EVSEs and connectors as nested entities.
 */
const connectors = new EntitySchema<any>({
  name: 'connectors',
  columns: {
    pairing_id: { type: 'uuid', primary: true },
    evse_position: { type: 'smallint', primary: true },
    position: { type: 'smallint', primary: true },
    connector_id: { type: 'text' },
    power_type: { type: 'text' },
    max_voltage: { type: 'integer' },
    max_amperage: { type: 'integer' },
  },
  relations: {
    evse: {
      type: 'many-to-one',
      target: 'evses',
      joinColumn: [
        { name: 'pairing_id', referencedColumnName: 'pairing_id' },
        { name: 'evse_position', referencedColumnName: 'position' },
      ],
    },
  },
});
const evses = new EntitySchema<any>({
  name: 'evses',
  columns: {
    pairing_id: { type: 'uuid', primary: true },
    position: { type: 'smallint', primary: true },
    evse_id: { type: 'text' },
    capabilities: { type: 'text', array: true },
  },
  relations: {
    station: {
      type: 'many-to-one',
      target: 'stations',
      joinColumn: { name: 'pairing_id', referencedColumnName: 'pairing_id' },
    },
    connectors: { type: 'one-to-many', target: 'connectors', inverseSide: 'evse', cascade: true },
  },
});
const stations = new EntitySchema<any>({
  name: 'stations',
  columns: { pairing_id: { type: 'uuid', primary: true }, uid: { type: 'text' }, payload_protocol: { type: 'text' } },
  relations: { evses: { type: 'one-to-many', target: 'evses', inverseSide: 'station', cascade: true } },
});
const pairings = new EntitySchema<any>({
  name: 'pairings',
  columns: {
    id: { type: 'uuid', primary: true },
    code_id: { type: 'uuid' },
    cpo_id: { type: 'uuid' },
    station_uid: { type: 'text' },
    user_id: { type: 'text' },
    charging_location_id: { type: 'text' },
    ended_at: { type: 'timestamptz', nullable: true },
  },
});
const codes = new EntitySchema<any>({
  name: 'pairing_codes',
  columns: {
    id: { type: 'uuid', primary: true },
    hash: { type: 'bytea' },
    length: { type: 'smallint' },
    status: { type: 'text' },
    user_id: { type: 'text' },
    charging_location_id: { type: 'text' },
    expires_at: { type: 'timestamptz' },
    ended_at: { type: 'timestamptz', nullable: true },
  },
});
const tokens = new EntitySchema<any>({
  name: 'tokens',
  columns: { id: { type: 'uuid', primary: true }, hash: { type: 'bytea' }, cpo_id: { type: 'uuid' } },
});

const validate = new Ajv().compile({
  type: 'object',
  required: ['code', 'charging_station'],
  properties: {
    code: { type: 'string', minLength: 1, maxLength: 64 },
    charging_station: {
      type: 'object',
      required: ['uid', 'evses'],
      properties: { uid: { type: 'string', maxLength: 48 }, evses: { type: 'array', minItems: 1, maxItems: 100 } },
    },
  },
});

async function main(): Promise<void> {
  const db = await new DataSource({
    type: 'postgres',
    url: process.env.DATABASE_URL as string,
    poolSize: 10,
    entities: [connectors, evses, stations, pairings, codes, tokens],
  }).initialize();
  const [key] = deriveKeys(SECRET_KEY).pairingCode;

  const app = express();
  app.use(express.json({ limit: 65_536 }));
  app.post('/v1/scsp/:protocol/pair', async (req, res) => {
    const token = /^Bearer (\S+)$/.exec(req.get('authorization') ?? '')?.[1] ?? '';
    const caller = await db.getRepository(tokens).findOneBy({ hash: createHash('sha256').update(token).digest() });
    if (caller === null) return void res.status(401).json({ message: 'Unauthorized' });
    if (!validate(req.body)) return void res.status(400).json({ errors: validate.errors });
    const { code, charging_station: sent } = req.body;
    const status = await db.transaction(async (tx) => {
      const found = await tx.getRepository(codes).findOne({
        where: { length: code.length, hash: hashCode(key as Buffer, code), status: 'active' },
        lock: { mode: 'pessimistic_write' },
      });
      if (found === null || found.expires_at < new Date()) return 404;
      const uid = sent.uid.toLowerCase();
      if (await tx.getRepository(pairings).existsBy({ station_uid: uid })) return 409;
      const { id } = await tx.getRepository(pairings).save({
        id: randomUUID(),
        code_id: found.id,
        cpo_id: caller.cpo_id,
        station_uid: uid,
        user_id: found.user_id,
        charging_location_id: found.charging_location_id,
      });
      await tx.getRepository(stations).save({
        pairing_id: id,
        uid: sent.uid,
        payload_protocol: req.params.protocol,
        evses: sent.evses.map((evse: any, e: number) => ({
          pairing_id: id,
          position: e + 1,
          evse_id: String(evse.evse_id),
          capabilities: evse.capabilities,
          connectors: evse.connectors.map((connector: any, c: number) => ({
            pairing_id: id,
            evse_position: e + 1,
            position: c + 1,
            connector_id: connector.id,
            power_type: connector.power_type,
            max_voltage: connector.max_voltage,
            max_amperage: connector.max_amperage,
          })),
        })),
      });
      await tx.getRepository(codes).save({ ...found, status: 'used', ended_at: new Date() });
      return 200;
    });
    if (status !== 200) return void res.status(status).json({ message: 'Refused' });
    return void res.json({ message: 'Charging station successfully paired.', charging_station: sent });
  });
  app.listen(Number(process.env.PORT), '127.0.0.1', () => process.stdout.write('listening\n'));
}

void main();
