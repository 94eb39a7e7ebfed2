import { createHash, randomUUID } from 'node:crypto';
import Ajv from 'ajv';
import express from 'express';
import { DataSource, EntitySchema, type EntitySchemaOptions, MoreThan } from 'typeorm';
import { hashCode } from '../../src/codes/code';
import { pairingCodes } from '../../src/db/schema/codes';
import { pairings } from '../../src/db/schema/pairings';
import * as stored from '../../src/db/schema/stations';
import { tokens } from '../../src/db/schema/tokens';
import { CODE_KEY } from '../database';
import { type Body, bodySchema } from './pairing-schema';

/** Returns an entity with the columns of the service's table, and relations that save() follows. */
function entity(of: EntitySchema<any>, relations: EntitySchemaOptions<any>['relations'] = {}): EntitySchema<any> {
  return new EntitySchema({ ...of.options, foreignKeys: [], relations });
}

const column = (name: string, referencedColumnName: string) => ({ name, referencedColumnName });
const ofPairing = column('pairing_id', 'pairingId');
const codes = entity(pairingCodes);
const stations = entity(stored.stations, {
  evses: { type: 'one-to-many', target: 'evses', inverseSide: 'station', cascade: true },
});
const evses = entity(stored.evses, {
  station: { type: 'many-to-one', target: 'stations', joinColumn: ofPairing },
  connectors: { type: 'one-to-many', target: 'connectors', inverseSide: 'evse', cascade: true },
});
const connectors = entity(stored.connectors, {
  evse: { type: 'many-to-one', target: 'evses', joinColumn: [ofPairing, column('evse_position', 'position')] },
});
const entities = [codes, entity(tokens), entity(pairings), stations, evses, connectors];

function stationOf(pairingId: string, protocol: string, { uid, evses }: Body['charging_station']) {
  return {
    pairingId,
    uid,
    payloadProtocol: protocol,
    evses: evses.map((evse, e) => ({
      pairingId,
      position: e + 1,
      evseId: String(evse.evse_id),
      capabilities: evse.capabilities,
      connectors: evse.connectors.map((connector, c) => ({
        pairingId,
        evsePosition: e + 1,
        position: c + 1,
        connectorId: connector.id,
        powerType: connector.power_type,
        maxVoltage: connector.max_voltage,
        maxAmperage: connector.max_amperage,
      })),
    })),
  };
}

/**
 * The conventional implementation: Express with express.json, a token look-up, ajv, and a TypeORM transaction that finds the
 * code, checks whether the uid is taken, and saves the pairing and its station with EVSEs and connectors as nested entities.
 */
async function main(): Promise<void> {
  const db = await new DataSource({
    type: 'postgres',
    url: process.env.DATABASE_URL as string,
    poolSize: 10,
    entities,
  }).initialize();
  const validate = new Ajv().compile<Body>(bodySchema);

  const app = express();
  app.use(express.json({ limit: 65_536 }));
  app.post('/v1/scsp/:protocol/pair', async (req, res) => {
    const token = /^Bearer (\S+)$/.exec(req.get('authorization') ?? '')?.[1] ?? '';
    const caller = await db.getRepository(tokens).findOneBy({ hash: createHash('sha256').update(token).digest() });
    if (caller === null) return void res.status(401).json({ message: 'Unauthorized' });
    const { body } = req;
    if (!validate(body)) return void res.status(400).json({ errors: validate.errors });
    const status = await db.transaction(async (tx) => {
      const hash = hashCode(CODE_KEY, body.code);
      const code = await tx.getRepository(codes).findOne({
        where: { length: body.code.length, hash, status: 'active', expiresAt: MoreThan(new Date()) },
        lock: { mode: 'pessimistic_write' },
      });
      if (code === null) return 404;
      const stationUid = body.charging_station.uid.toLowerCase();
      if (await tx.getRepository(pairings).existsBy({ stationUid })) return 409;
      const { userId, chargingLocationId } = code;
      const { cpoId } = caller;
      const id = randomUUID();
      await tx.getRepository('pairings').save({ id, codeId: code.id, cpoId, stationUid, userId, chargingLocationId });
      await tx.getRepository(stations).save(stationOf(id, req.params.protocol, body.charging_station));
      await tx.getRepository(codes).save({ ...code, status: 'used', endedAt: new Date() });
      return 200;
    });
    if (status !== 200) return void res.status(status).json({ message: 'Refused' });
    return void res.json({ message: 'Charging station successfully paired.', charging_station: body.charging_station });
  });
  app.listen(Number(process.env.PORT), '127.0.0.1');
}

void main();
