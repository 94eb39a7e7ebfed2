import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createTcpServer, type Server } from 'node:net';
import { resolver } from '../../src/outbound/address';
import { aCertificate } from '../harness/a-certificate';
import { startNameServer } from '../harness/a-name-server';
import { endLater } from '../harness/clean-up';
import { type Harness, startHarness, type TestCpo } from '../harness/harness';
import { freePort, listenOn } from '../harness/listen';
import { pairBy, signUp } from '../harness/self-service';
import { until } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  const names = await startNameServer({});
  resolver.setServers([names.address]);
  service = await startHarness({ SANDBOX: 'true' });
  service.secrets.add('outbound-token');
});
afterAll(() => service.stop());

/** Starts a server and returns its port. */
async function portOf(server: Server): Promise<number> {
  const port = await listenOn(server);
  endLater(() => void server.close());
  return port;
}

const answering = (status: number, type = 'application/json', body = '{}') =>
  portOf(
    createHttpServer(
      (req, res) => void req.resume().on('end', () => res.writeHead(status, { 'content-type': type }).end(body)),
    ),
  );

const set = (cpo: TestCpo, base_url: string) =>
  service.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body: { base_url, token: 'outbound-token' } });
const endpointOf = (cpo: TestCpo) => service.request('GET', '/v1/scsp/me/endpoint', { token: cpo.token });
const redeem = (cpo: TestCpo, code = '4711') =>
  service.request('POST', '/v1/scsp/test-redemptions', {
    token: cpo.token,
    body: { code, payload_protocol: 'ocpp2.1' },
  });
const callsOf = (cpo: TestCpo) => service.request('GET', '/v1/scsp/calls', { token: cpo.token });

describe('the endpoint of a CPO', () => {
  test('is shown to that CPO alone, without the token', async () => {
    const [cpo, other] = [await signUp(service), await signUp(service)];
    const missing = await endpointOf(cpo);
    expect([missing.status, missing.body.type]).toEqual([404, '/problems/not-found']);
    expect(missing.body.message).toBe('This CPO has no endpoint. Set it first with PUT /v1/scsp/me/endpoint.');
    await set(cpo, 'http://127.0.0.1:9/scsp/');
    expect(await endpointOf(cpo)).toMatchObject({ status: 200, body: { base_url: 'http://127.0.0.1:9/scsp' } });
    expect(Object.keys((await endpointOf(cpo)).body)).toEqual(['base_url']);
    expect((await endpointOf(other)).status).toBe(404);
    expect((await service.request('GET', '/v1/scsp/me/endpoint', { token: service.appToken })).status).toBe(403);
  });

  test('is shown in a sandbox only', async () => {
    const production = await startHarness();
    const { token } = await production.cpo();
    expect((await production.request('GET', '/v1/scsp/me/endpoint', { token })).status).toBe(404);
    await production.stop();
  });

  test.each([
    ['http://localhost:8080', 'must begin with https://'],
    ['https://localhost:8080', 'must not be at a private, loopback or otherwise special address'],
  ])('%s is refused where others can reach the sandbox, with what to do instead', async (url, reason) => {
    const open = await startHarness({ SANDBOX: 'true', TRUSTED_PROXIES: '127.0.0.1' });
    const cpo = await signUp(open);
    const body = { base_url: url, token: 'outbound-token' };
    const refused = await open.request('PUT', '/v1/scsp/me/endpoint', { token: cpo.token, body });
    expect(refused.status).toBe(400);
    const [{ pointer, message }] = refused.body.errors;
    expect([pointer, message.slice(0, reason.length + 2)]).toEqual(['/base_url', `${reason}. `]);
    expect(message).toMatch(/public addresses with https only.*a tunnel.*a sandbox on your own machine/);
    await open.stop();
  });

  test('without a scheme is refused with the schemes that work here', async () => {
    const { body } = await set(await signUp(service), 'localhost:8080');
    expect(body.errors).toEqual([{ pointer: '/base_url', message: 'must begin with https:// or http://' }]);
  });
});

describe('a test redemption', () => {
  const redeemAt = async (base_url: string) => {
    const cpo = await signUp(service);
    await service.sql.query('update cpos set base_url = $2 where id = $1', [cpo.id, base_url]);
    const { status, body } = await redeem(cpo);
    expect(status).toBe(200);
    return { cpo, body };
  };

  test('that ends in 404 says what was called, and that the base_url may be wrong', async () => {
    const base = `http://127.0.0.1:${await answering(404)}/wrong`;
    const { body } = await redeemAt(base);
    expect(body).toMatchObject({ outcome: 'incorrect-code', url: `${base}/v1/cpo/ocpp2.1/pair` });
    expect(body.message).toBe(
      'Incorrect Code, please check the code and try again. If the code is good, check base_url: your backend may answer unknown paths with a JSON 404, too.',
    );
  });

  test('that ends in 401 says which token was sent', async () => {
    const { body } = await redeemAt(`http://127.0.0.1:${await answering(401)}`);
    expect(body.message).toBe(
      'The CPO answered 401. Compare the token that it expects with the one that you set with PUT /v1/scsp/me/endpoint.',
    );
  });

  test('of a blank code calls nothing, and says so by having no url', async () => {
    const cpo = await signUp(service);
    await set(cpo, 'http://127.0.0.1:9');
    expect((await redeem(cpo, ' ')).body).not.toHaveProperty('url');
  });

  test.each<[string, () => Promise<string>, string]>([
    [
      'nobody listens',
      async () => `http://127.0.0.1:${await freePort()}`,
      'the connection was refused. Check the port, and that your backend is running',
    ],
    [
      'the host has no address',
      async () => 'https://nowhere.test',
      'its host name has no address. Check base_url and DNS',
    ],
    [
      'the connection is closed',
      async () =>
        `http://127.0.0.1:${await portOf(createTcpServer((socket) => void socket.on('data', () => socket.destroy())))}`,
      'the connection was closed without a complete answer. Look into your log',
    ],
    [
      'the certificate is not trusted',
      async () =>
        `https://127.0.0.1:${await portOf(createHttpsServer(aCertificate('localhost'), (_req, res) => void res.end()))}`,
      'its certificate is not valid for the host or not publicly trusted. Check the certificate and its chain',
    ],
    [
      'the server speaks no TLS',
      async () => `https://127.0.0.1:${await answering(200)}`,
      'TLS failed. Check that the port serves https',
    ],
    [
      'the answer is not HTTP',
      async () =>
        `http://127.0.0.1:${await portOf(createTcpServer((socket) => void socket.on('data', () => socket.end('hello\r\n\r\n'))))}`,
      'the answer is not valid HTTP. Check the port',
    ],
  ])('says why the backend could not be reached: %s', async (_name, start, cause) => {
    const { cpo, body } = await redeemAt(await start());
    expect(body.message).toBe(`The CPO could not be reached: ${cause}.`);
    const { body: calls } = await until(
      (answer) => answer.body.items?.length === 1,
      () => callsOf(cpo),
      10_000,
    );
    expect(calls.items[0]).toMatchObject({ outcome: 'unreachable', errors: [{ pointer: '', message: cause }] });
  });
});

test('the unpair of a test customer waits with the uid of the station', async () => {
  const cpo = await signUp(service);
  await set(cpo, `http://127.0.0.1:${await answering(503)}`);
  await pairBy(service, cpo, '100001', { uid: 'Mine' });
  const body = { uid: 'mine' };
  expect((await service.request('POST', '/v1/scsp/test-unpairs', { token: cpo.token, body })).status).toBe(200);
  expect((await callsOf(cpo)).body.waiting).toMatchObject([{ uid: 'Mine' }]);
});

test.each([
  ['redemption_at', 'Codes of this CPO were redeemed too often: at most 10 a minute. Please try again later.'],
  [
    'endpoint_at',
    'The endpoint of this CPO was set too often: at most 10 a minute and 100 a day. Please try again later.',
  ],
])('a limit says what it is: %s', async (column, message) => {
  const cpo = await signUp(service);
  await set(cpo, 'http://127.0.0.1:9');
  await service.sql.query(`update sandbox_limits set ${column} = array_fill(now(), array[10]) where cpo_id = $1`, [
    cpo.id,
  ]);
  const { status, body } = column === 'endpoint_at' ? await set(cpo, 'http://127.0.0.1:9') : await redeem(cpo);
  expect([status, body.message]).toEqual([429, message]);
});

test('the test code 000400 says that its errors are an example', async () => {
  const { status, body } = await pairBy(service, await signUp(service), '000400', { uid: 'Mine' });
  expect([status, body.message]).toEqual([
    400,
    'This is the test code 000400: the errors are an example, your request has none.',
  ]);
});

test('the page of a missing endpoint says what a CPO has to do', async () => {
  const page = String((await service.request('GET', '/problems/cpo-unavailable')).body);
  expect(page).toContain('PUT /v1/scsp/me/endpoint');
});
