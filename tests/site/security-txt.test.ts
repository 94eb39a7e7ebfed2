import { type Harness, startHarness } from '../harness/harness';

const PATH = '/.well-known/security.txt';
const YEAR_MS = 365 * 86_400_000;

/** The fields of a security.txt (RFC 9116, 2.2), each a name and a value. */
const fieldsOf = (text: string) =>
  Object.fromEntries(
    text
      .trimEnd()
      .split('\n')
      .map((line) => /^([A-Za-z-]+): (\S.*)$/.exec(line)?.slice(1) ?? [line, 'is no field']),
  );

let service: Harness;
let elsewhere: Harness;
beforeAll(async () => {
  service = await startHarness();
  elsewhere = await startHarness({
    PUBLIC_URL: 'https://pairing.example/scsp',
    SECURITY_CONTACT: 'https://pairing.example/report',
  });
});
afterAll(() => Promise.all([service.stop(), elsewhere.stop()]));

/** Where a service answers whose public address is another one. */
const publicly = async (path: string) =>
  fetch(`http://127.0.0.1:${elsewhere.log.lines.find(({ message }) => message === 'listening')?.port}${path}`);

test('anybody learns whom to tell, as plain text in UTF-8', async () => {
  const { status, headers, body } = await service.request('GET', PATH);
  expect(status).toBe(200);
  expect(headers.get('Content-Type')).toBe('text/plain; charset=utf-8');
  expect(fieldsOf(body)).toEqual({
    Contact: 'mailto:security@jedlix.com',
    Expires: expect.any(String),
    'Preferred-Languages': 'en',
  });
});

test('it expires less than a year ahead, and not soon', async () => {
  const { Expires = '' } = fieldsOf((await service.request('GET', PATH)).body);
  const left = Date.parse(Expires) - Date.now();
  expect(Expires).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(left).toBeLessThan(YEAR_MS);
  expect(left).toBeGreaterThan(YEAR_MS / 2);
});

test('a service that knows its public address names it, the policy and the contact of its own', async () => {
  expect(fieldsOf(await (await publicly(PATH)).text())).toEqual({
    Contact: 'https://pairing.example/report',
    Expires: expect.any(String),
    'Preferred-Languages': 'en',
    Canonical: `https://pairing.example/scsp${PATH}`,
    Policy: 'https://pairing.example/scsp/#security',
  });
});

test('the policy is on the first page and names the contact', async () => {
  expect((await service.request('GET', '/')).body).toMatch(/<h2 id="security">[\s\S]*: security@jedlix\.com /);
  expect(await (await publicly('/')).text()).toMatch(/<h2 id="security">[\s\S]*: https:\/\/pairing\.example\/report /);
});

test('an address that is not HTTPS is not named', async () => {
  const insecure = await startHarness({ PUBLIC_URL: 'http://127.0.0.1' });
  const port = insecure.log.lines.find(({ message }) => message === 'listening')?.port;
  const text = await (await fetch(`http://127.0.0.1:${port}${PATH}`)).text();
  expect(Object.keys(fieldsOf(text))).toEqual(['Contact', 'Expires', 'Preferred-Languages']);
  await insecure.stop();
});
