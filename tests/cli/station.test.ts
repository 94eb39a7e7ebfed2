import { randomUUID } from 'node:crypto';
import { ACTOR, commandsOf, RFC_3339, refusal, UUID } from '../harness/a-command';
import { sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { audited, json, scsp, text } = commandsOf(() => service);

async function pair(cpo: TestCpo, uid: string = `station-${randomUUID()}`): Promise<string> {
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  return uid;
}

describe('scsp station', () => {
  test('the list shows the stations of all CPOs, the latest first, and as many as wanted', async () => {
    const uids: string[] = [];
    for (const user_id of [randomUUID(), randomUUID(), randomUUID()]) {
      const station = aStation();
      const { code } = await service.code({ user_id });
      expect((await service.pair(await service.cpo(), code, station)).status).toBe(200);
      uids.unshift(station.uid);
    }
    const listed = await json('station', 'list');
    expect(listed.slice(0, 3).map(({ uid }: { uid: string }) => uid)).toEqual(uids);
    expect(listed[0]).toEqual({
      uid: uids[0],
      cpo_id: expect.stringMatching(UUID),
      user_id: expect.any(String),
      charging_location_id: 'home',
      payload_protocol: 'ocpp2.0.1',
      paired_at: expect.stringMatching(RFC_3339),
    });
    expect(await json('station', 'list', '--limit', '2')).toEqual(listed.slice(0, 2));

    const [heading, ...rows] = await text('station', 'list', '--limit', '2');
    expect(heading).toEqual(['UID', 'CPO ID', 'USER ID', 'CHARGING LOCATION ID', 'PAYLOAD PROTOCOL', 'PAIRED AT']);
    expect(rows).toEqual(listed.slice(0, 2).map((station: object) => Object.values(station)));
  });

  test('a pairing that has ended is not in the list', async () => {
    const station = aStation();
    await service.pair(await service.cpo(), (await service.code()).code, station);
    await service.sql.query('update pairings set ended_at = now() where station_uid = lower($1)', [station.uid]);
    expect(JSON.stringify(await json('station', 'list'))).not.toContain(station.uid);
  });

  test('unpair ends a pairing at once, notifies the CPO, and says who did it', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 200, { message: 'ok' }));
    const uid = await pair(cpo, `Station-${randomUUID()}`);
    const ended = await json('station', 'unpair', uid.toUpperCase());
    expect(ended).toEqual({ uid, cpo_id: cpo.id, pairing_id: expect.any(String) });

    await cpo.asked(1);
    expect(cpo.received[0]?.path).toBe(`/v1/cpo/chargingstations/${uid}/unpair`);
    const { rows } = await service.sql.query('select ended_by, ended_at from pairings where id = $1', [
      ended.pairing_id,
    ]);
    expect(rows).toEqual([{ ended_by: 'operator', ended_at: expect.any(Date) }]);
    const events = await service.sql.query(
      `select type from events where pairing_id = $1 and type like 'station.%' order by id`,
      [ended.pairing_id],
    );
    expect(events.rows.map(({ type }) => type)).toEqual(['station.paired', 'station.unpaired']);
    const [entry] = await audited(ended.pairing_id);
    expect(entry).toEqual({ actor: ACTOR, action: 'station.unpair', detail: { cpo_id: cpo.id } });

    expect(await scsp('station', 'unpair', uid)).toEqual(refusal(`no station with the uid ${uid} is paired`));
    await pair(cpo, uid);
    await cpo.down();
  });

  test('list shows the stations of one CPO, the latest first', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const [first, second] = [await pair(cpo), await pair(cpo)];
    await pair(other);
    const gone = await pair(cpo);
    await service.unpairAsCpo(cpo, gone);
    const listed = await json('station', 'list', '--cpo', cpo.id);
    expect(listed.map(({ uid }: any) => uid)).toEqual([second, first]);
    expect(await json('station', 'list', '--cpo', cpo.name, '--limit', '1')).toMatchObject([{ uid: second }]);
    for (const nobody of [randomUUID(), 'volt'])
      expect(await scsp('station', 'list', '--cpo', nobody)).toEqual(refusal(`no CPO has the id or name ${nobody}`));
  });
});
