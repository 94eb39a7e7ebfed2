import { randomUUID } from 'node:crypto';
import { protocols } from '../../src/protocols';
import { ACTOR, commandsOf, document, refusal, wrongUsage } from '../harness/a-command';
import { sendJson, startCpo } from '../harness/a-cpo';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { audited, json, scsp, withInput } = commandsOf(() => service);

async function pair(cpo: TestCpo, uid: string = `station-${randomUUID()}`): Promise<string> {
  expect((await service.pair(cpo, (await service.code()).code, aStation(uid))).status).toBe(200);
  return uid;
}

describe('scsp cpo call', () => {
  const stored = async (id: string) =>
    (await service.sql.query('select base_url, outbound_token, outbound_key_id from cpos where id = $1', [id])).rows[0];
  const setToken = async (id: string, url: string, token: string) =>
    document(await withInput(['cpo', 'call', id, '--base-url', url, '--outbound-token-stdin', '--json'], [token]));

  test('the token for one origin is not sent to another, unless a new one is given with it', async () => {
    const { id } = await service.cpo();
    await setToken(id, 'https://old.example/a', 'first');
    const before = await stored(id);
    for (const url of ['https://new.example/a', 'https://old.example:8443/a', 'https://old.example.new.example/a'])
      expect(await scsp('cpo', 'call', id, '--base-url', url)).toEqual(
        refusal(
          'the outbound token of this CPO is for https://old.example and is not sent to another origin: give a new token with --outbound-token-stdin, or remove both first with --none',
        ),
      );
    expect(await stored(id)).toEqual(before);

    await json('cpo', 'call', id, '--base-url', 'https://old.example/b');
    expect(await stored(id)).toEqual({ ...before, base_url: 'https://old.example/b' });
    await setToken(id, 'https://new.example', 'second');
    expect((await stored(id)).outbound_token.equals(before.outbound_token)).toBe(false);
  });

  test('an address without a token is changed freely', async () => {
    const { id } = await service.cpo();
    await json('cpo', 'call', id, '--base-url', 'https://old.example');
    expect(await json('cpo', 'call', id, '--base-url', 'https://new.example')).toMatchObject({
      base_url: 'https://new.example',
    });
  });

  test('--none takes address and token away, and what the CPO is to be notified of waits for a new address', async () => {
    const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
    const uid = await pair(cpo);
    await service.unpairAsApp(uid);
    await cpo.asked(1);
    const taken = await json('cpo', 'call', cpo.id, '--none');
    expect(taken).toMatchObject({ id: cpo.id, notifications_waiting: 1 });
    expect(taken).not.toHaveProperty('base_url');
    expect(await stored(cpo.id)).toEqual({ base_url: null, outbound_token: null, outbound_key_id: null });
    expect(await json('cpo', 'call', cpo.id, '--none')).toEqual(taken);
    expect((await audited(cpo.id)).slice(-1)).toEqual([
      { actor: ACTOR, action: 'cpo.calling-removed', detail: { name: cpo.name, base_url: cpo.url } },
    ]);
    expect((await audited(cpo.id)).filter(({ action }) => action === 'cpo.calling-removed')).toHaveLength(1);

    const waiting = async () => (await json('outbox', 'list')).find(({ cpo_id }: any) => cpo_id === cpo.id);
    await json('outbox', 'retry', (await waiting()).id);
    await service.log.waitFor(({ cpo_id, reason }) => cpo_id === cpo.id && /no base URL/.test(String(reason)));
    expect(await waiting()).toMatchObject({
      last_error: 'The CPO has no base URL: the notification waits until it has one.',
    });

    cpo.answer = (res) => sendJson(res, 200, { message: 'ok' });
    await json('cpo', 'call', cpo.id, '--base-url', cpo.url);
    // It may have been delivered by itself since.
    const left = await waiting();
    if (left !== undefined) await scsp('outbox', 'retry', left.id);
    await service.log.waitFor(({ cpo_id, outcome }) => cpo_id === cpo.id && outcome === 'delivered');
    expect(cpo.received.at(-1)?.headers).not.toHaveProperty('authorization');
    await cpo.down();
  });

  test('--none goes with nothing else, and an unknown CPO has nothing to take away', async () => {
    const { id } = await service.cpo();
    for (const other of [['--base-url', 'https://cpo.example'], ['--outbound-token-stdin'], ['--protocols', 'all']])
      expect(await scsp('cpo', 'call', id, '--none', ...other)).toEqual(wrongUsage("'--none' cannot be used with"));
    for (const nobody of [randomUUID(), 'volt'])
      expect(await scsp('cpo', 'call', nobody, '--none')).toEqual(refusal(`no CPO has the id or name ${nobody}`));
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
    const said = await json('cpo', 'call', cpo.id, '--protocols', 'ocpi2.2.1,ocpp2.0.1');
    expect(said.payload_protocols).toEqual(['ocpp2.0.1', 'ocpi2.2.1']);
    expect(await shownToApps(cpo.id)).toEqual(['ocpp2.0.1', 'ocpi2.2.1']);
    expect((await scsp('cpo', 'list')).stdout).toContain('ocpp2.0.1, ocpi2.2.1');

    const other = await service.redeem(cpo, '1', { payload_protocol: 'ocpp1.6' });
    expect([other.status, other.body.errors]).toEqual([
      400,
      [{ pointer: '/payload_protocol', message: 'is not served by this CPO, which serves ocpp2.0.1, ocpi2.2.1' }],
    ]);
    expect(cpo.received).toEqual([]);
    expect((await service.redeem(cpo, '1', { payload_protocol: 'ocpp2.0.1' })).status).toBe(201);

    expect(await json('cpo', 'call', cpo.id, '--protocols', 'all')).not.toHaveProperty('payload_protocols');
    expect((await service.redeem(cpo, '1', { payload_protocol: 'ocpp1.6' })).status).toBe(201);
    expect((await audited(cpo.id)).map(({ detail }) => detail.payload_protocols).slice(-2)).toEqual([
      ['ocpp2.0.1', 'ocpi2.2.1'],
      undefined,
    ]);
    await cpo.down();
  });

  test('are set with its registration, too, and unknown ones are wrong usage', async () => {
    const add = (list: string) =>
      ['cpo', 'add', `CPO ${randomUUID()}`, '--base-url', 'https://cpo.example', '--protocols', list] as const;
    const { id, payload_protocols } = await json(...add('ocpp1.6'));
    expect([payload_protocols, await shownToApps(id)]).toEqual([['ocpp1.6'], ['ocpp1.6']]);
    for (const list of ['ocpp0', 'ocpp1.6,', '', 'OCPP1.6', 'ocpp1.6 ocpp2.1'])
      expect(await scsp(...add(list))).toEqual(wrongUsage('Supported: ocpp1.6, ocpp2.0.1'));
  });
});
