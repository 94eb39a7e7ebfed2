import { randomUUID } from 'node:crypto';
import { signUpOrigin } from '../../src/sandbox/sign-up';
import { command } from '../harness/a-command';
import { type Answer, type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { signUp } from '../harness/self-service';
import { until } from '../harness/until';

let service: Harness;
let proxied: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
  proxied = await startHarness({ SANDBOX: 'true', TRUSTED_PROXIES: '127.0.0.1,192.0.2.0/28' });
});
afterAll(() => Promise.all([service.stop(), proxied.stop()]));
beforeEach(async () => {
  for (const one of [service, proxied]) await one.sql.query('delete from sandbox_sign_ups');
});

const create = async (to: Harness, forwarded?: string): Promise<Answer> => {
  const answer = await to.request('POST', '/v1/sandbox/cpos', {
    body: { name: 'Station Works' },
    ...(forwarded !== undefined && { headers: { 'X-Forwarded-For': forwarded } }),
  });
  if (answer.status === 201) to.secrets.add(answer.body.token);
  return answer;
};
const times = async (count: number, ask: (n: number) => Promise<Answer>) => {
  const statuses: number[] = [];
  for (let n = 0; n < count; n++) statuses.push((await ask(n)).status);
  return statuses;
};
const TWENTY = Array(20).fill(201);

test('anybody creates a CPO, whose token works at once and lasts 30 days', async () => {
  const { status, body } = await create(service);
  expect(status).toBe(201);
  const days = (Date.parse(body.expires_at) - Date.now()) / 86_400_000;
  expect(days).toBeGreaterThan(29.9);
  expect(days).toBeLessThan(30.1);
  const me = await until(
    (answer) => answer.status === 200,
    () => service.request('GET', '/v1/scsp/me', { token: body.token }),
  );
  expect(me.body.cpo).toEqual(body.cpo);
  expect(me.body.token).toEqual({ expires_at: body.expires_at });
});

test('names need not be unique, but an operator finds a CPO of an operator by its name only', async () => {
  const name = `Volt ${randomUUID()}`;
  const [one, other] = [await signUp(service, name), await signUp(service, name)];
  expect(one.id).not.toBe(other.id);
  const settings = { DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' };
  const suspend = (named: string) => command(settings, ['cpo', 'suspend', named, '--json']);
  expect(await suspend(name)).toMatchObject({ code: 1, stderr: expect.stringContaining('no CPO has the id or name') });
  const operators = await service.cpo(name);
  expect(JSON.parse((await suspend(name)).stdout).id).toBe(operators.id);
  expect(JSON.parse((await suspend(one.id)).stdout).id).toBe(one.id);
  const { stdout } = await command(settings, ['cpo', 'list', '--json']);
  const marked = JSON.parse(stdout).filter((cpo: { name: string }) => cpo.name === name);
  expect(marked.map((cpo: { self_service?: boolean }) => cpo.self_service)).toEqual([true, true, undefined]);
});

test('two CPOs of operators still cannot share a name', async () => {
  const { name } = await service.cpo();
  await expect(service.cpo(name)).rejects.toThrow('already exists');
});

test.each(['', 'a\u0007b', 'a\u202eb', 'x'.repeat(129)])('%j is no name', async (name) => {
  expect((await service.request('POST', '/v1/sandbox/cpos', { body: { name } })).status).toBe(400);
});

describe('of one address', () => {
  test('at most 20 CPOs an hour are created, whatever it says of proxies', async () => {
    expect(await times(20, (n) => create(service, `198.51.100.${n}`))).toEqual(TWENTY);
    const refused = await create(service, '198.51.100.99');
    expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-sandbox-cpos']);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(3_500);
    await service.sql.query(`update sandbox_sign_ups set signed_up_at = now() - interval '61 minutes'`);
    expect((await create(service)).status).toBe(201);
  });

  test('many at once are not more', async () => {
    const answers: Answer[] = [];
    while (answers.filter(({ status }) => status === 201).length < 20)
      answers.push(...(await Promise.all(Array.from({ length: 10 }, () => create(service)))));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(20);
  });

  test('behind a trusted proxy it is what the proxy says, of IPv6 the /64', async () => {
    expect(await times(20, (n) => create(proxied, `2001:db8:1:2::${n + 1}`))).toEqual(TWENTY);
    expect((await create(proxied, '2001:db8:1:2:ffff::1')).status).toBe(429);
    expect((await create(proxied, '2001:db8:1:3::1')).status).toBe(201);
  });

  test('of the /48 around it at most 60', async () => {
    for (let net = 0; net < 3; net++)
      expect(await times(20, (n) => create(proxied, `2001:db8:2:${net}::${n + 1}`))).toEqual(TWENTY);
    expect((await create(proxied, '2001:db8:2:ffff::1')).status).toBe(429);
    expect((await create(proxied, '2001:db8:3:ffff::1')).status).toBe(201);
  });

  test('what the client has written before it does not count', async () => {
    expect(await times(20, (n) => create(proxied, `10.0.0.${n}, 203.0.113.7`))).toEqual(TWENTY);
    expect((await create(proxied, '10.9.9.9, 203.0.113.7')).status).toBe(429);
    expect((await create(proxied, '203.0.113.7, 192.0.2.3')).status).toBe(429);
    expect((await create(proxied, '203.0.113.8, 192.0.2.3')).status).toBe(201);
  });

  test('only a keyed hash is stored', async () => {
    await create(proxied, '203.0.113.7');
    const { rows } = await proxied.sql.query('select * from sandbox_sign_ups');
    expect(rows).toHaveLength(1);
    expect(rows[0].address_hash).toHaveLength(32);
    expect(JSON.stringify(rows) + JSON.stringify(proxied.log.lines)).not.toContain('203.0.113.7');
  });
});

test('at most 1,000 are alive', async () => {
  const other = await startHarness({ SANDBOX: 'true' });
  await other.sql.query(
    `insert into cpos (id, name, sandbox) select gen_random_uuid(), 'x', true from generate_series(1, 999)`,
  );
  expect((await create(other)).status).toBe(201);
  const refused = await create(other);
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-sandbox-cpos']);
  expect(refused.headers.get('Retry-After')).toBe('600');
  await other.cpo();
  await other.stop();
});

test.each([
  ['203.0.113.7', '127.0.0.1', '203.0.113.7'],
  ['::ffff:203.0.113.7', '127.0.0.1', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '127.0.0.1', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::', '127.0.0.1', '2001:db8:1:2::/64'],
  ['unknown', '203.0.113.9', '203.0.113.9'],
  [undefined, undefined, 'unknown'],
])('the network of %s, from %s, is %s', (address, peer, network) =>
  expect(signUpOrigin(address, peer).network).toBe(network),
);
