import { mayCall, readBaseUrl } from '../../src/outbound/address';
import { OperatorError } from '../../src/problems';

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
