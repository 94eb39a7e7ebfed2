import { createServer, type ServerResponse } from 'node:http';
import { resolver } from '../../src/outbound/address';
import { startNameServer } from '../harness/a-name-server';
import { endLater } from '../harness/clean-up';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { close, listenOn } from '../harness/listen';
import { pairBy, signUp, uidsOf } from '../harness/self-service';
import { untilSo } from '../harness/until';

/** A host that is on this machine by its address only, so that it is asked. */
const HOST = 'cpo.test';

let service: Harness;
beforeAll(async () => {
  const names = await startNameServer({ [HOST]: { a: [[127, 0, 0, 1]] }, 'private.test': { a: [[10, 0, 0, 1]] } });
  resolver.setServers([names.address]);
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

type Asked = { method: string; path: string; authorization: string | undefined; trace: string | undefined };

/** The backend of a CPO that answers by path: a status with a body, or whatever it does with the response. */
async function startBackend(answer: (path: string, res: ServerResponse) => void) {
  const asked: Asked[] = [];
  const server = createServer((req, res) => {
    const { authorization, traceparent } = req.headers;
    const trace = traceparent?.toString().split('-')[1];
    asked.push({ method: req.method ?? '', path: req.url ?? '', authorization, trace });
    req.resume().on('end', () => answer(req.url ?? '', res));
  });
  const port = await listenOn(server);
  endLater(() => close(server));
  return { asked, named: `http://${HOST}:${port}`, url: `http://127.0.0.1:${port}` };
}

const json = (res: ServerResponse, status: number, body: unknown) =>
  void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const set = (cpo: TestCpo, base_url: string, token = 'outbound-token') => {
  service.secrets.add('outbound-token');
  return service.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body: { base_url, token } });
};
const redeem = (cpo: TestCpo, code = '1', payload_protocol = 'ocpp2.0.1') =>
  service.request('POST', '/v1/scsp/test-redemptions', { token: cpo.token, body: { code, payload_protocol } });
const unpair = (cpo: TestCpo, uid: string) =>
  service.request('POST', '/v1/scsp/test-unpairs', { token: cpo.token, body: { uid } });

describe('an endpoint', () => {
  test.each([
    ['an operator', () => service.cpo(), ['cpo.calling']],
    // Entries of the audit log are never deleted.
    ['a stranger', () => signUp(service), []],
  ])(
    'on loopback is set at once, for a CPO of %s, and audited for that of an operator only',
    async (_whose, create, actions) => {
      const cpo = await create();
      const { url, asked } = await startBackend((_path, res) => json(res, 200, {}));
      expect(await set(cpo, `${url}/scsp/`)).toMatchObject({ status: 200, body: { base_url: `${url}/scsp` } });
      expect(asked).toEqual([]);
      const { rows } = await service.sql.query(`select actor, action, detail::text from audit where subject_id = $1`, [
        cpo.id,
      ]);
      const actor = expect.stringMatching(/^cpo token /);
      expect(rows.filter(({ action }) => action === 'cpo.calling')).toMatchObject(
        actions.map((action) => ({ action, actor })),
      );
      expect(JSON.stringify(rows)).not.toContain('outbound-token');
      expect(JSON.stringify(service.log.lines)).not.toContain('outbound-token');
      expect(service.log.lines).toContainEqual(
        expect.objectContaining({ message: 'endpoint of a CPO set', cpo_id: cpo.id, url }),
      );
    },
  );

  test('elsewhere must answer with the id of the CPO, and gets no token for that', async () => {
    const cpo = await signUp(service);
    const backend = await startBackend((_path, res) => void res.end(`${cpo.id}\n`));
    expect((await set(cpo, `${backend.named}/scsp`)).status).toBe(200);
    expect(backend.asked).toEqual([
      { method: 'GET', path: '/scsp/.well-known/scsp-pairing', authorization: undefined, trace: expect.any(String) },
    ]);
    expect(service.log.lines).toContainEqual(
      expect.objectContaining({ message: 'endpoint of a CPO set', cpo_id: cpo.id, trace_id: backend.asked[0]!.trace }),
    );
  });

  test.each<[string, (id: string, res: ServerResponse) => void, string]>([
    ['another id', (id, res) => void res.end(id.replace(/.$/, 'x')), 'it answered 200 with something else'],
    ['nothing', (_id, res) => void res.end(), 'it answered 200 with something else'],
    ['more than the id', (id, res) => void res.end(`${id} <html>`), 'it answered 200 with something else'],
    ['404', (id, res) => void res.writeHead(404).end(id), 'it answered 404'],
    ['a redirect', (_id, res) => void res.writeHead(307, { location: '/ok' }).end(), 'it answered 307'],
    ['too much', (id, res) => void res.end(id + ' '.repeat(5_000)), 'with more than 4096 bytes'],
    ['no answer', (_id, res) => void res.destroy(), 'it could not be reached'],
  ])('that answers %s is refused', async (_name, answer, seen) => {
    const cpo = await signUp(service);
    const backend = await startBackend((path, res) => (path === '/ok' ? void res.end(cpo.id) : answer(cpo.id, res)));
    const { status, body } = await set(cpo, backend.named);
    expect([status, body.errors[0].pointer]).toEqual([400, '/base_url']);
    expect(body.errors[0].message).toContain(seen);
    expect((await redeem(cpo)).status).toBe(409);
    expect(backend.asked).toHaveLength(1);
  });

  test.each([
    'http://10.0.0.1/',
    'http://169.254.169.254/latest',
    'http://private.test/',
    'https://[fd00::1]/',
    'ftp://cpo.example/',
    'https://user@cpo.example/',
    'https://cpo.example/?a=b',
    'nonsense',
  ])('%s is refused', async (url) => {
    const cpo = await signUp(service);
    const { status, body } = await set(cpo, url);
    expect([status, body.errors[0].pointer]).toEqual([400, '/base_url']);
  });

  test.each(['', 'a b', 'a\r\nX-Y: z'])('the token %j is refused', async (token) => {
    expect((await set(await signUp(service), 'https://cpo.example', token)).status).toBe(400);
  });

  test('is set at most ten times a minute and a hundred times a day', async () => {
    const cpo = await signUp(service);
    for (let i = 0; i < 10; i++) expect((await set(cpo, 'http://127.0.0.1:9')).status).toBe(200);
    const refused = await set(cpo, 'http://127.0.0.1:9');
    expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-requests']);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(30);
    const times = (count: number) =>
      service.sql.query(
        `update sandbox_limits set endpoint_at = array_fill(now() - interval '1 hour', array[$2::int]) where cpo_id = $1`,
        [cpo.id, count],
      );
    await times(100);
    expect(Number((await set(cpo, 'http://127.0.0.1:9')).headers.get('Retry-After'))).toBeGreaterThan(80_000);
    await times(99);
    expect((await set(cpo, 'http://127.0.0.1:9')).status).toBe(200);
  });

  test('in a deployment that others can reach is https, public, and at no port of another service', async () => {
    const open = await startHarness({ SANDBOX: 'true', HOST: '0.0.0.0' });
    const cpo = await signUp(open);
    for (const base_url of ['http://cpo.example', 'https://localhost', 'https://127.0.0.1', `https://${HOST}`]) {
      const body = { base_url, token: 'x' };
      expect((await open.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body })).status).toBe(400);
    }
    const port = await open.request('PUT', '/v1/scsp/me/endpoint', {
      token: cpo.token,
      body: { base_url: 'https://cpo.example:25', token: 'x' },
    });
    expect(port.body.errors).toEqual([{ pointer: '/base_url', message: 'must have port 443 or one from 1024 on' }]);
    await open.stop();
  });
});

describe('a test redemption', () => {
  const station = aStation('theirs');
  const withEndpoint = async (answer: (path: string, res: ServerResponse) => void, create = () => signUp(service)) => {
    const cpo = await create();
    const backend = await startBackend(answer);
    await set(cpo, backend.url);
    return { cpo, ...backend };
  };

  test.each<[string, () => Promise<TestCpo>]>([
    ['a self-service CPO', () => signUp(service)],
    ['a CPO that an operator has added', () => service.cpo()],
  ])('stores the station of %s for its test customer, which then unpairs it', async (_name, create) => {
    const uid = `T-${create.toString().length}`;
    const { cpo, asked } = await withEndpoint(
      (path, res) => json(res, 200, path.endsWith('/pair') ? { charging_station: { ...station, uid } } : {}),
      create,
    );
    const { status, body } = await redeem(cpo);
    expect(status).toBe(200);
    expect(body).toEqual({
      outcome: 'paired',
      status: 200,
      duration_ms: expect.any(Number),
      request_id: expect.any(String),
      url: expect.stringMatching(/^http:.*\/v1\/cpo\/ocpp2\.0\.1\/pair$/),
      charging_station: { ...station, uid },
    });
    expect(await uidsOf(service, cpo)).toEqual([uid]);
    expect((await redeem(cpo)).body).toMatchObject({ outcome: 'station-already-paired', status: 200 });
    expect((await unpair(cpo, 'unknown')).status).toBe(404);
    expect((await unpair(cpo, uid.toUpperCase())).status).toBe(200);
    expect(await uidsOf(service, cpo)).toEqual([]);
    await untilSo(() => asked.some(({ path }) => path === `/v1/cpo/chargingstations/${uid}/unpair`));
    expect(new Set(asked.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer outbound-token']));
    expect((await redeem(cpo)).body.outcome).toBe('paired');
    expect((await service.unpairAsCpo(cpo, uid)).status).toBe(200);
    const { rows } = await service.sql.query(
      'select from events where cpo_id = $1 and position is not null union all select from pairings where cpo_id = $1 and user_id is not null',
      [cpo.id],
    );
    expect(rows).toEqual([]);
  });

  test.each<[string, (res: ServerResponse) => void, object]>([
    ['404', (res) => json(res, 404, { message: 'no' }), { outcome: 'incorrect-code', status: 404 }],
    ['500', (res) => json(res, 500, {}), { outcome: 'cpo-failed', status: 500, message: 'The CPO answered 500.' }],
    [
      'nothing',
      (res) => void res.destroy(),
      { outcome: 'cpo-failed', message: expect.stringContaining('could not be reached') },
    ],
  ])('tells that the backend answers %s', async (_name, answer, expected) => {
    const { cpo } = await withEndpoint((_path, res) => answer(res));
    expect((await redeem(cpo)).body).toMatchObject(expected);
  });

  test('lists every validation error, and has the CPO notified of a station that was not stored', async () => {
    const connectors = Array.from({ length: 8 }, (_, n) => ({ id: String(n) }));
    const broken = { uid: 'broken', evses: [{ evse_id: 1, connectors }] };
    const { cpo, asked } = await withEndpoint((_path, res) => json(res, 200, { charging_station: broken }));
    const { body } = await redeem(cpo);
    expect(body).toMatchObject({ outcome: 'cpo-failed', status: 200, message: expect.stringContaining('more') });
    expect(body.errors).toHaveLength(24);
    await untilSo(() => asked.some(({ path }) => path === '/v1/cpo/chargingstations/broken/unpair'));
  });

  test('never shows the code or our token', async () => {
    const { cpo } = await withEndpoint((_path, res) =>
      json(res, 200, { charging_station: { uid: 7, a: 'outbound-token', evses: 'code-4711' } }),
    );
    expect(JSON.stringify((await redeem(cpo, 'code-4711')).body)).not.toMatch(/outbound-token|code-4711/);
  });

  test('a blank code is not sent', async () => {
    const { cpo, asked } = await withEndpoint((_path, res) => json(res, 200, {}));
    expect((await redeem(cpo, ' ')).body.outcome).toBe('incorrect-code');
    expect(asked).toEqual([]);
  });

  test('needs an endpoint', async () => {
    const cpo = await signUp(service);
    await pairBy(service, cpo, '100001', { uid: 'mine' });
    for (const answer of [await redeem(cpo), await unpair(cpo, 'mine')])
      expect([answer.status, answer.body.type]).toEqual([409, '/problems/cpo-unavailable']);
    expect(await uidsOf(service, cpo)).toEqual(['mine']);
  });

  test('runs one at a time, and ten times a minute', async () => {
    const held: ServerResponse[] = [];
    const { cpo, asked } = await withEndpoint((_path, res) => void held.push(res));
    const first = redeem(cpo);
    await untilSo(() => asked.length === 1);
    expect((await redeem(cpo)).body.type).toBe('/problems/too-many-requests');
    for (const res of held) json(res, 404, {});
    await first;
    await service.sql.query(
      `update sandbox_limits set redemption_at = array_fill(now(), array[10]) where cpo_id = $1`,
      [cpo.id],
    );
    const refused = await redeem(cpo);
    expect([refused.status, asked.length]).toEqual([429, 1]);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(30);
  });
});
