import { createServer, type ServerResponse } from 'node:http';
import { endLater } from '../harness/clean-up';
import { aStation, type Harness, startHarness, type TestCpo } from '../harness/harness';
import { close, listenOn } from '../harness/listen';
import { openRaw } from '../harness/raw-http';
import { pairBy, signUp } from '../harness/self-service';
import { untilAnswered, untilSo, untilStatus } from '../harness/until';

const SHARE = 10;
const ALL_SELF_SERVICE = 12;

let service: Harness;
let operators: TestCpo;
beforeAll(async () => {
  service = await startHarness(
    { SANDBOX: 'true', LIMIT_IN_FLIGHT: String(4 * SHARE) },
    { testCodes: { withheldMs: 600_000 }, load: { requests: 2 * ALL_SELF_SERVICE } },
  );
  operators = await service.cpo();
});
afterAll(() => service.stop());

const me = ({ token }: TestCpo) => service.request('GET', '/v1/scsp/me', { token });

/** A backend that answers when it is told to. */
async function startSilentBackend() {
  const waiting: ServerResponse[] = [];
  const server = createServer((req, res) => void req.resume().on('end', () => waiting.push(res)));
  const port = await listenOn(server);
  endLater(() => close(server));
  return { waiting, url: `http://127.0.0.1:${port}` };
}

test('requests behind an answer that waits take few slots', async () => {
  const cpo = await signUp(service);
  await untilStatus(200, () => me(cpo));
  const pair = (code: string, uid: string) => {
    const body = JSON.stringify({ code, charging_station: aStation(uid) });
    const head = ['POST /v1/scsp/ocpp2.0.1/pair HTTP/1.1', 'Host: x', `Authorization: Bearer ${cpo.token}`];
    return [...head, 'Content-Type: application/json', `Content-Length: ${body.length}`, '', body].join('\r\n');
  };
  const attempts = async (outcome: string) =>
    (await service.sql.query('select from attempts where cpo_id = $1 and outcome = $2', [cpo.id, outcome])).rowCount ??
    0;
  /** A connection whose first request has no answer yet. A busy machine may answer 503 before it pairs. */
  const withhold = async (): Promise<Awaited<ReturnType<typeof openRaw>>> => {
    const raw = await openRaw(service.url);
    raw.socket.write(pair('000504', 'withheld'));
    await untilSo(async () => raw.received() !== '' || (await attempts('paired')) === 1);
    if (raw.received() === '') return raw;
    expect(await raw.answers(1)).toMatchObject([{ status: 503 }]);
    raw.socket.destroy();
    return withhold();
  };
  const raw = await withhold();
  for (let n = 0; n < 2 * SHARE; n++) raw.socket.write(pair('000404', `behind-${n}`));
  await untilSo(async () => (await attempts('incorrect-code')) >= 8);
  const [own, other] = [await me(cpo), await me(operators)];
  expect([own.status, other.status]).toEqual([200, 200]);
  expect(await attempts('incorrect-code')).toBe(8);
  raw.socket.destroy();
});

test('self-service CPOs take at most half of the slots', async () => {
  const { waiting, url } = await startSilentBackend();
  const cpos: TestCpo[] = [];
  while (cpos.length <= ALL_SELF_SERVICE) {
    const cpo = await signUp(service);
    cpos.push(cpo);
    const { status } = await service.request('PUT', '/v1/scsp/me/endpoint', {
      token: cpo.token,
      body: { base_url: url, token: 'outbound-token' },
    });
    expect(status).toBe(200);
  }
  const [last, ...first] = cpos as [TestCpo, ...TestCpo[]];
  const redeemed = first.map(({ token }) =>
    untilAnswered(() =>
      service.request('POST', '/v1/scsp/test-redemptions', {
        token,
        body: { code: '1', payload_protocol: 'ocpp2.0.1' },
      }),
    ),
  );
  await untilSo(async () => waiting.length === ALL_SELF_SERVICE);
  expect((await pairBy(service, last, '100000')).status).toBe(503);
  expect((await me(operators)).status).toBe(200);
  for (const res of waiting) res.writeHead(500).end();
  expect((await Promise.all(redeemed)).map(({ status }) => status)).toEqual(Array(ALL_SELF_SERVICE).fill(200));
  await untilStatus(200, () => pairBy(service, last, '100000'));
});
