import { randomUUID } from 'node:crypto';
import { commandsOf, RFC_3339, refusal, UUID } from '../harness/a-command';
import { aStation, type Harness, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { addCpo, json, scsp, text } = commandsOf(() => service);

describe('scsp attempts list', () => {
  const wrong = async (cpo: { id: string; name: string; token: string }, uid: string) =>
    expect((await service.pair(cpo, '000000', aStation(uid))).status).toBe(404);

  test('shows what all CPOs, or one, have tried, the latest first', async () => {
    const [one, other] = [await service.cpo(), await service.cpo()];
    for (const [cpo, uid] of [
      [one, 'a'],
      [other, 'b'],
      [one, 'c'],
    ] as const)
      await wrong(cpo, uid);
    const all = await json('attempts', 'list', '--limit', '3');
    expect(all.map(({ cpo_id, uid }: any) => [cpo_id, uid])).toEqual([
      [one.id, 'c'],
      [other.id, 'b'],
      [one.id, 'a'],
    ]);
    expect(all[0]).toEqual({
      id: expect.stringMatching(UUID),
      cpo_id: one.id,
      attempted_at: expect.stringMatching(RFC_3339),
      request_id: expect.any(String),
      payload_protocol: 'ocpp2.0.1',
      uid: 'c',
      outcome: 'incorrect-code',
      status: 404,
      reason: 'unknown',
    });
    expect(await json('attempts', 'list', '--cpo', one.id)).toEqual([all[0], all[2]]);
    expect(await json('attempts', 'list', '--cpo', one.id, '--limit', '1')).toEqual([all[0]]);
    expect(await json('attempts', 'list', '--cpo', (await addCpo()).id)).toEqual([]);
    for (const id of [randomUUID(), 'no-such-cpo'])
      expect(await scsp('attempts', 'list', '--cpo', id)).toEqual(refusal(`no CPO has the id or name ${id}`));
  });

  test('shows a person each on a line, whatever a CPO has sent', async () => {
    const cpo = await service.cpo();
    const body = { code: '1', charging_station: { ...aStation(), uid: '\u001b[2J\nuid' } };
    expect((await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: cpo.token, body })).status).toBe(400);
    await untilSo(async () => (await json('attempts', 'list', '--cpo', cpo.id)).length > 0);
    // Such a uid is not stored any more; a previous version did.
    await service.sql.query('update attempts set uid = $2 where cpo_id = $1', [cpo.id, body.charging_station.uid]);
    const [heading, ...rows] = await text('attempts', 'list', '--cpo', cpo.id);
    expect(heading).toEqual([
      'ATTEMPTED AT',
      'CPO ID',
      'PAYLOAD PROTOCOL',
      'UID',
      'STATUS',
      'OUTCOME',
      'REASON',
      'REQUEST ID',
      'DETAIL',
    ]);
    expect(rows).toEqual([
      [
        expect.stringMatching(RFC_3339),
        cpo.id,
        'ocpp2.0.1',
        '\ufffd[2J\ufffduid',
        '400',
        'invalid-request',
        '-',
        expect.any(String),
        expect.stringContaining('/charging_station/uid must contain only printable'),
      ],
    ]);
  });
});
