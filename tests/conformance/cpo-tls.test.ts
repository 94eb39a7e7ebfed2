import { once } from 'node:events';
import { type AddressInfo, createServer, type LookupFunction } from 'node:net';
import { LIMITS } from '../../src/conformance/cpo/caller';
import { resolver } from '../../src/outbound/address';
import { aCertificate } from '../harness/a-certificate';
import { startNameServer } from '../harness/a-name-server';
import { quietSandboxCpo, runKit, withVerdict } from '../harness/a-sandbox-cpo';
import { endLater } from '../harness/clean-up';

const GATES = ['transport-https', 'transport-address', 'transport-connect', 'transport-certificate'];
/** Connects every host to this machine, after the addresses in the DNS were checked. */
const lookup: LookupFunction = (_hostname, { all }, callback) =>
  all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4);

const ours = aCertificate('cpo.example');

beforeAll(async () => {
  const { address } = await startNameServer({
    'cpo.example': { a: [[8, 8, 8, 8]] },
    'private.example': {
      a: [
        [8, 8, 8, 8],
        [10, 0, 0, 1],
      ],
    },
    'here.example': { a: [[127, 0, 0, 1]] },
  });
  resolver.setServers([address]);
});

async function portOf(tls?: { key: string; cert: string }) {
  const cpo = await quietSandboxCpo(tls === undefined ? {} : { tls });
  endLater(() => cpo.stop());
  return { port: new URL(cpo.url).port, calls: cpo.calls };
}

/** The gates of a run by verdict, and how many other checks ran. */
async function gatesOf(target: string, run: Parameters<typeof runKit>[1] = { network: { lookup, ca: ours.cert } }) {
  const report = await runKit(target, run);
  const others = report.checks.filter(({ id, verdict }) => !GATES.includes(id) && verdict !== 'not_run');
  return {
    passed: withVerdict(report, 'passed').filter((id) => GATES.includes(id)),
    failed: withVerdict(report, 'failed').filter((id) => GATES.includes(id)),
    others: others.length,
    note: report.checks.find(({ verdict }) => verdict === 'failed')?.evidence?.note,
  };
}

test('a target with https, public addresses and a valid certificate passes every check', async () => {
  const { port } = await portOf(ours);
  const report = await runKit(`https://cpo.example:${port}`, { network: { lookup, ca: ours.cert } });
  expect(withVerdict(report, 'failed', 'warning', 'not_run')).toEqual([]);
});

test('a target with http that is not on loopback fails transport-https, and nothing is sent', async () => {
  const { port, calls } = await portOf();
  const gates = await gatesOf(`http://cpo.example:${port}`);
  expect(gates).toMatchObject({ passed: [], failed: ['transport-https'], others: 0 });
  expect(calls).toEqual([]);
});

test.each(['private.example', 'here.example', '10.0.0.1', '169.254.169.254'])(
  'a target at %s fails transport-address, and nothing is sent',
  async (host) => {
    const { port, calls } = await portOf(ours);
    const gates = await gatesOf(`https://${host}:${port}`);
    expect(gates).toMatchObject({ passed: ['transport-https'], failed: ['transport-address'], others: 0 });
    expect(calls).toEqual([]);
  },
);

test('a host whose address changes after the first check is not connected', async () => {
  const { port, calls } = await portOf(ours);
  const { address } = await startNameServer({ 'rebinding.example': { a: [[8, 8, 8, 8]] } });
  const before = resolver.getServers();
  resolver.setServers([address]);
  const original = resolver.resolve4.bind(resolver);
  let asked = 0;
  const resolve4 = jest.spyOn(resolver, 'resolve4').mockImplementation((async (name: string) => {
    asked += 1;
    return asked === 1 ? original(name) : ['127.0.0.1'];
  }) as never);
  const gates = await gatesOf(`https://rebinding.example:${port}`, { network: { ca: ours.cert } });
  resolve4.mockRestore();
  resolver.setServers(before);
  expect(gates).toMatchObject({ passed: ['transport-https'], failed: ['transport-address'], others: 0 });
  expect([asked > 1, calls]).toEqual([true, []]);
});

test.each([
  ['is for another host', () => aCertificate('other.example')],
  ['has expired', () => aCertificate('cpo.example', { days: -1 })],
])('a certificate that %s fails transport-certificate', async (_what, certificate) => {
  const tls = certificate();
  const { port, calls } = await portOf(tls);
  const gates = await gatesOf(`https://cpo.example:${port}`, { network: { lookup, ca: tls.cert } });
  expect(gates).toMatchObject({ passed: GATES.slice(0, 3), failed: ['transport-certificate'], others: 0 });
  expect(calls).toEqual([]);
});

test('a certificate that nobody trusts fails transport-certificate', async () => {
  const { port } = await portOf(ours);
  const gates = await gatesOf(`https://cpo.example:${port}`, { network: { lookup } });
  expect(gates).toMatchObject({ failed: ['transport-certificate'], note: expect.stringContaining('SELF_SIGNED') });
});

test('a target that does not complete the connection fails transport-connect', async () => {
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const sockets = new Set<import('node:net').Socket>();
  silent.on('connection', (socket) => sockets.add(socket));
  const { port } = silent.address() as AddressInfo;
  const gates = await gatesOf(`https://cpo.example:${port}`, {
    network: { lookup, ca: ours.cert },
    limits: { connectMs: 200 },
  });
  for (const socket of sockets) socket.destroy();
  silent.close();
  expect(gates).toMatchObject({ passed: GATES.slice(0, 2), failed: ['transport-connect'], others: 0 });
});

test('a target on loopback may have a self-signed certificate', async () => {
  const { port } = await portOf(aCertificate('localhost'));
  const report = await runKit(`https://localhost:${port}`);
  expect(withVerdict(report, 'failed', 'warning')).toEqual([]);
  expect(withVerdict(report, 'not_run')).toEqual(['transport-https', 'transport-address', 'transport-certificate']);
});

test('the time-outs and bounds are those of the service', () => {
  expect(LIMITS).toEqual({ connectMs: 5_000, deadlineMs: 10_000, runMs: 115_000, timeOuts: 3, answerBytes: 65_536 });
});
