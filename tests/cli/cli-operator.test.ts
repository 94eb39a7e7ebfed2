import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { protocols } from '../../src/protocols';
import { command } from '../harness/a-command';
import { sendJson, startCpo } from '../harness/a-cpo';
import { anIncorrectCode, aStation, type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const scsp = (args: readonly string[], input: string[] = []) =>
  command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' }, args, input);
async function json(args: readonly string[], input: string[] = []): Promise<any> {
  const { code, stdout, stderr } = await scsp([...args, '--json'], input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}
const refusal = (reason: string) => ({ code: 1, stdout: '', stderr: `scsp: ${reason}\n` });
const wrongUsage = (words: string) => ({ code: 2, stdout: '', stderr: expect.stringContaining(words) });

/** What was written into the audit log about somebody, the oldest first. */
const audited = async (subject: string): Promise<{ actor: string; action: string; detail: object }[]> =>
  (await json(['audit', 'list', '--limit', '1000']))
    .filter(({ subject_id }: any) => subject_id === subject)
    .map(({ actor, action, detail }: any) => ({ actor, action, detail }))
    .toReversed();
const ACTOR = userInfo().username;

async function pair(cpo: TestCpo, uid: string = `station-${randomUUID()}`): Promise<string> {
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  return uid;
}

describe('scsp station', () => {
  test('unpair ends a pairing at once, notifies the CPO, and says who did it', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 200, { message: 'ok' }));
    const uid = await pair(cpo, `Station-${randomUUID()}`);
    const ended = await json(['station', 'unpair', uid.toUpperCase()]);
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

    expect(await scsp(['station', 'unpair', uid])).toEqual(refusal(`no station with the uid ${uid} is paired`));
    await pair(cpo, uid);
    await cpo.down();
  });

  test('list shows the stations of one CPO, the latest first', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    const [first, second] = [await pair(cpo), await pair(cpo)];
    await pair(other);
    const gone = await pair(cpo);
    await service.unpairAsCpo(cpo, gone);
    const listed = await json(['station', 'list', '--cpo', cpo.id]);
    expect(listed.map(({ uid }: any) => uid)).toEqual([second, first]);
    expect(await json(['station', 'list', '--cpo', cpo.name, '--limit', '1'])).toMatchObject([{ uid: second }]);
    for (const nobody of [randomUUID(), 'volt'])
      expect(await scsp(['station', 'list', '--cpo', nobody])).toEqual(refusal(`no CPO has the id or name ${nobody}`));
  });
});

describe('scsp cpo call', () => {
  const stored = async (id: string) =>
    (await service.sql.query('select base_url, outbound_token, outbound_key_id from cpos where id = $1', [id])).rows[0];

  test('the token for one origin is not sent to another, unless a new one is given with it', async () => {
    const { id } = await service.cpo();
    await json(['cpo', 'call', id, '--base-url', 'https://old.example/a', '--outbound-token-stdin'], ['first']);
    const before = await stored(id);
    for (const url of ['https://new.example/a', 'https://old.example:8443/a', 'https://old.example.new.example/a'])
      expect(await scsp(['cpo', 'call', id, '--base-url', url])).toEqual(
        refusal(
          'the outbound token of this CPO is for https://old.example and is not sent to another origin: give a new token with --outbound-token-stdin, or remove both first with --none',
        ),
      );
    expect(await stored(id)).toEqual(before);

    await json(['cpo', 'call', id, '--base-url', 'https://old.example/b']);
    expect(await stored(id)).toEqual({ ...before, base_url: 'https://old.example/b' });
    await json(['cpo', 'call', id, '--base-url', 'https://new.example', '--outbound-token-stdin'], ['second']);
    expect((await stored(id)).outbound_token.equals(before.outbound_token)).toBe(false);
  });

  test('an address without a token is changed freely', async () => {
    const { id } = await service.cpo();
    await json(['cpo', 'call', id, '--base-url', 'https://old.example']);
    expect(await json(['cpo', 'call', id, '--base-url', 'https://new.example'])).toMatchObject({
      base_url: 'https://new.example',
    });
  });

  test('--none takes address and token away, and what the CPO is to be notified of waits for a new address', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
    const uid = await pair(cpo);
    await service.unpairAsApp(uid);
    await cpo.asked(1);
    const taken = await json(['cpo', 'call', cpo.id, '--none']);
    expect(taken).toMatchObject({ id: cpo.id, notifications_waiting: 1 });
    expect(taken).not.toHaveProperty('base_url');
    expect(await stored(cpo.id)).toEqual({ base_url: null, outbound_token: null, outbound_key_id: null });
    expect(await json(['cpo', 'call', cpo.id, '--none'])).toEqual(taken);
    expect((await audited(cpo.id)).slice(-1)).toEqual([
      { actor: ACTOR, action: 'cpo.calling-removed', detail: { name: cpo.name, base_url: cpo.url } },
    ]);
    expect((await audited(cpo.id)).filter(({ action }: any) => action === 'cpo.calling-removed')).toHaveLength(1);

    const waiting = async () => (await json(['outbox', 'list'])).find(({ cpo_id }: any) => cpo_id === cpo.id);
    await json(['outbox', 'retry', (await waiting()).id]);
    await service.log.waitFor(({ cpo_id, reason }) => cpo_id === cpo.id && /no base URL/.test(String(reason)));
    expect(await waiting()).toMatchObject({
      last_error: 'The CPO has no base URL: the notification waits until it has one.',
    });

    cpo.answer = (res) => sendJson(res, 200, { message: 'ok' });
    await json(['cpo', 'call', cpo.id, '--base-url', cpo.url]);
    await json(['outbox', 'retry', (await waiting()).id]);
    await service.log.waitFor(({ cpo_id, outcome }) => cpo_id === cpo.id && outcome === 'delivered');
    expect(cpo.received.at(-1)?.headers).not.toHaveProperty('authorization');
    await cpo.down();
  });

  test('--none goes with nothing else, and an unknown CPO has nothing to take away', async () => {
    const { id } = await service.cpo();
    for (const other of [['--base-url', 'https://cpo.example'], ['--outbound-token-stdin'], ['--protocols', 'all']])
      expect(await scsp(['cpo', 'call', id, '--none', ...other])).toEqual(wrongUsage("'--none' cannot be used with"));
    for (const nobody of [randomUUID(), 'volt'])
      expect(await scsp(['cpo', 'call', nobody, '--none'])).toEqual(refusal(`no CPO has the id or name ${nobody}`));
  });
});

describe('the protocols that a CPO serves', () => {
  const ALL = Object.keys(protocols);
  const shownToApps = async (id: string) => {
    const { body } = await service.request('GET', '/v1/app/cpos?limit=100', { token: service.appToken });
    return body.items.find((cpo: { id: string }) => cpo.id === id)?.payload_protocols;
  };

  test('are all until they are set, and all again when that is set', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 200, { charging_station: aStation() }));
    expect(await shownToApps(cpo.id)).toEqual(expect.arrayContaining(ALL));
    const said = await json(['cpo', 'call', cpo.id, '--protocols', 'ocpi2.2.1,ocpp2.0.1']);
    expect(said.payload_protocols).toEqual(['ocpp2.0.1', 'ocpi2.2.1']);
    expect(await shownToApps(cpo.id)).toEqual(['ocpp2.0.1', 'ocpi2.2.1']);
    expect((await scsp(['cpo', 'list'])).stdout).toContain('ocpp2.0.1, ocpi2.2.1');

    const other = await service.redeem(cpo, '1', { payload_protocol: 'ocpp1.6' });
    expect([other.status, other.body.errors]).toEqual([
      400,
      [{ pointer: '/payload_protocol', message: 'is not served by this CPO, which serves ocpp2.0.1, ocpi2.2.1' }],
    ]);
    expect(cpo.received).toEqual([]);
    expect((await service.redeem(cpo, '1', { payload_protocol: 'ocpp2.0.1' })).status).toBe(201);

    expect(await json(['cpo', 'call', cpo.id, '--protocols', 'all'])).not.toHaveProperty('payload_protocols');
    expect((await service.redeem(cpo, '1', { payload_protocol: 'ocpp1.6' })).status).toBe(201);
    expect((await audited(cpo.id)).map(({ detail }: any) => detail.payload_protocols).slice(-2)).toEqual([
      ['ocpp2.0.1', 'ocpi2.2.1'],
      undefined,
    ]);
    await cpo.down();
  });

  test('are set with its registration, too, and unknown ones are wrong usage', async () => {
    const add = (list: string) =>
      ['cpo', 'add', `CPO ${randomUUID()}`, '--base-url', 'https://cpo.example', '--protocols', list] as const;
    const { id, payload_protocols } = await json(add('ocpp1.6'));
    expect([payload_protocols, await shownToApps(id)]).toEqual([['ocpp1.6'], ['ocpp1.6']]);
    for (const list of ['ocpp0', 'ocpp1.6,', '', 'OCPP1.6', 'ocpp1.6 ocpp2.1'])
      expect(await scsp(add(list))).toEqual(wrongUsage('Supported: ocpp1.6, ocpp2.0.1'));
  });
});

describe('scsp cpo limits', () => {
  const wrong = async (cpo: TestCpo) => (await service.pair(cpo, anIncorrectCode())).status;
  const exhaust = async (cpo: TestCpo) => {
    for (let i = 0; i < 20; i++) expect(await wrong(cpo)).toBe(404);
    expect(await wrong(cpo)).toBe(429);
  };
  const left = (rows: { name: string; left: number; limit: number }[]) =>
    Object.fromEntries(rows.map(({ name, left, limit }) => [name, `${left} of ${limit}`]));

  test('shows what is left of each limit', async () => {
    const cpo = await service.cpo();
    await wrong(cpo);
    expect(await json(['cpo', 'limits', cpo.name])).toEqual([
      { name: 'incorrect-codes-uid-10min', limit: 5, left: 4, window_seconds: 600, setting: 'LIMIT_CPO_UID_10MIN' },
      { name: 'incorrect-codes-uid-24h', limit: 10, left: 9, window_seconds: 86400, setting: 'LIMIT_CPO_UID_24H' },
      { name: 'incorrect-codes-cpo-10min', limit: 20, left: 19, window_seconds: 600, setting: 'LIMIT_CPO_10MIN' },
      { name: 'incorrect-codes-cpo-24h', limit: 50, left: 49, window_seconds: 86400, setting: 'LIMIT_CPO_24H' },
    ]);
  });

  test('--reset forgets what one CPO has sent, at once, and says who did it', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    await exhaust(cpo);
    await wrong(other);
    const after = await json(['cpo', 'limits', cpo.id, '--reset']);
    expect(left(after)).toMatchObject({
      'incorrect-codes-cpo-10min': '20 of 20',
      'incorrect-codes-cpo-24h': '50 of 50',
    });
    expect(await wrong(cpo)).toBe(404);
    expect(left(await json(['cpo', 'limits', other.id]))).toMatchObject({ 'incorrect-codes-cpo-24h': '49 of 50' });
    expect(await audited(cpo.id)).toContainEqual({
      actor: ACTOR,
      action: 'cpo.limits-reset',
      detail: { failed_attempts: 20 },
    });
  });

  test('--set raises limits of one CPO, and takes them back to those of the settings', async () => {
    const [cpo, other] = [await service.cpo(), await service.cpo()];
    await exhaust(cpo);
    const raised = await json(['cpo', 'limits', cpo.id, '--set', 'LIMIT_CPO_10MIN=22', '--set', 'limit_cpo_24h=100']);
    expect(left(raised)).toMatchObject({
      'incorrect-codes-cpo-10min': '2 of 22',
      'incorrect-codes-cpo-24h': '80 of 100',
    });
    expect(raised[2]).toMatchObject({ setting: 'LIMIT_CPO_10MIN', set_to: 22 });
    expect([await wrong(cpo), await wrong(cpo), await wrong(cpo)]).toEqual([404, 404, 429]);
    expect(left(await json(['cpo', 'limits', other.id]))).toMatchObject({ 'incorrect-codes-cpo-10min': '20 of 20' });
    const { body } = await service.request('GET', '/v1/scsp/me', { token: cpo.token });
    expect(body.limits[2]).toMatchObject({ name: 'incorrect-codes-cpo-10min', limit: 22, left: 0 });
    const back = await json(['cpo', 'limits', cpo.id, '--set', 'LIMIT_CPO_10MIN=default']);
    expect(left(back)).toMatchObject({
      'incorrect-codes-cpo-10min': '0 of 20',
      'incorrect-codes-cpo-24h': '78 of 100',
    });
    expect(back[2]).not.toHaveProperty('set_to');
    expect((await audited(cpo.id)).slice(1).map(({ action, detail }) => [action, detail])).toEqual([
      ['cpo.limits', { LIMIT_CPO_10MIN: 22 }],
      ['cpo.limits', { LIMIT_CPO_24H: 100 }],
      ['cpo.limits', { LIMIT_CPO_10MIN: null }],
    ]);
  });

  test('refuses what is no limit or no number', async () => {
    const cpo = await service.cpo();
    for (const [set, words] of [
      ['LIMIT_X=1', 'Unknown limit "LIMIT_X". Known: LIMIT_CPO_UID_10MIN, LIMIT_CPO_UID_24H, LIMIT_CPO_10MIN'],
      ['LIMIT_CPO_24H=0', 'It must be a whole number from 1 to 1000000.'],
      ['LIMIT_CPO_24H', 'It must be a whole number'],
    ] as const)
      expect(await scsp(['cpo', 'limits', cpo.id, '--set', set])).toEqual(wrongUsage(words));
    expect(await scsp(['cpo', 'limits', 'nobody'])).toEqual(refusal('no CPO has the id or name nobody'));
  });
});

test('scsp re-encrypt has the aliases scsp reseal and scsp cpo reseal', async () => {
  for (const args of [['re-encrypt'], ['reseal'], ['cpo', 'reseal']]) expect(await json(args)).toEqual({ resealed: 0 });
});
