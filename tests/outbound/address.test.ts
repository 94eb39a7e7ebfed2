import { lookup } from 'node:dns/promises';
import { promisify } from 'node:util';
import { checkedLookup, ForbiddenAddress, mayCall, readBaseUrl, resolver } from '../../src/outbound/address';
import { OperatorError } from '../../src/problems';
import { startNameServer } from '../harness/a-name-server';

test.each([
  ['8.8.8.8', true],
  ['2a00:1450:4001:81b::200e', true],
  ['127.0.0.1', false],
  ['10.0.0.1', false],
  ['172.16.0.1', false],
  ['192.168.1.1', false],
  ['169.254.169.254', false],
  ['100.64.0.1', false],
  ['0.0.0.0', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['192.0.2.1', false],
  ['198.18.0.1', false],
  ['::', false],
  ['::1', false],
  ['fe80::1', false],
  ['fd00:ec2::254', false],
  ['ff02::1', false],
  ['::ffff:10.0.0.1', false],
  ['64:ff9b::a00:1', false],
  ['2002:a00:1::', false],
  ['2001:db8::1', false],
  ['168.63.129.16', false],
  ['168.63.129.17', true],
  ['100.100.100.200', false],
  ['192.0.0.192', false],
  ['192.88.99.1', false],
  ['::808:808', false],
  ['::ffff:168.63.129.16', false],
  ['1fff::1', false],
  ['2001:0:808:808::1', false],
  ['3fff::1', false],
  ['3ffe::1', true],
  ['4000::1', false],
  ['5f00::1', false],
])('%s may be called: %s', (address, expected) => {
  expect(mayCall(address, false)).toBe(expected);
});

test('the sandbox may call this machine, and nothing else that is private', () => {
  expect(
    ['127.0.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.1', '169.254.169.254'].map((it) => mayCall(it, true)),
  ).toEqual([true, true, true, false, false]);
});

test.each([
  'http://cpo.example',
  'ftp://cpo.example',
  'cpo.example',
  'https://user:secret@cpo.example',
  'https://cpo.example?x=1',
  'https://cpo.example#x',
  'https://localhost',
  'https://127.1',
  'https://[::1]:8443',
  'https://169.254.169.254/latest',
  'https://0x0a000001',
])('%s is no base URL', async (text) => {
  await expect(readBaseUrl(text, false)).rejects.toThrow(OperatorError);
});

test('a base URL is kept without a slash at its end', async () => {
  expect(await readBaseUrl('https://cpo.example/scsp/', false)).toBe('https://cpo.example/scsp');
  expect(await readBaseUrl('http://localhost:4000', true)).toBe('http://localhost:4000');
});

describe('a host', () => {
  const addresses = (hostname: string, all = true, loopback = false): Promise<unknown> =>
    promisify(checkedLookup(loopback))(hostname, { all });
  let queries: string[];
  beforeAll(async () => {
    const server = await startNameServer({
      'both.example': {
        a: [[8, 8, 8, 8]],
        aaaa: [[0x20, 1, 0x48, 0x60, 0x48, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x88]],
      },
      'v4.example': { a: [[8, 8, 4, 4]] },
      'mixed.example': {
        a: [
          [8, 8, 8, 8],
          [10, 0, 0, 1],
        ],
      },
      'silent.example': undefined,
    });
    resolver.setServers([server.address]);
    queries = server.queries;
  });

  test('has all its addresses, IPv4 first, or one', async () => {
    const [v4, v6] = [
      { address: '8.8.8.8', family: 4 },
      { address: '2001:4860:4860::8888', family: 6 },
    ];
    expect(await addresses('both.example')).toEqual([v4, v6]);
    expect(await addresses('v4.example')).toEqual([{ address: '8.8.4.4', family: 4 }]);
    expect(await addresses('both.example', false)).toBe('8.8.8.8');
  });

  test('must not be called if one of its addresses must not, and is no base URL', async () => {
    await expect(addresses('mixed.example')).rejects.toThrow(ForbiddenAddress);
    await expect(addresses('localhost')).rejects.toThrow(ForbiddenAddress);
    await expect(readBaseUrl('https://mixed.example', false)).rejects.toThrow(OperatorError);
  });

  test('that does not exist is not found', async () => {
    await expect(addresses('none.example')).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });

  test('whose name servers do not answer is not found in time, and delays no other one', async () => {
    let ended = 0;
    const silent = Array.from({ length: 8 }, () =>
      expect(addresses('silent.example'))
        .rejects.toMatchObject({ code: 'ENOTFOUND' })
        .then(() => {
          ended += 1;
        }),
    );
    expect(await addresses('v4.example')).toEqual([{ address: '8.8.4.4', family: 4 }]);
    expect(await lookup('localhost')).toMatchObject({ address: expect.any(String) });
    expect(await addresses('localhost', false, true)).toBe('127.0.0.1');
    expect([ended, queries.includes('silent.example')]).toEqual([0, true]);
    await Promise.all(silent);
  }, 20_000);
});
