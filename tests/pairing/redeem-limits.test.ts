import { randomUUID } from 'node:crypto';
import { deriveKeys, hashSubject } from '../../src/crypto/keys';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { type Harness, SECRET_KEY, startHarness } from '../harness/harness';
import { untilAnswered } from '../harness/until';

const SANDBOX = { SANDBOX: 'true' };
let service: Harness;
beforeAll(async () => {
  service = await startHarness(SANDBOX);
});
afterAll(() => service.stop());

const attemptsOf = async (userId: string) => {
  const hash = hashSubject(deriveKeys(SECRET_KEY), 'user', userId);
  return (await service.sql.query('select outcome from redemption_attempts where user_hash = $1', [hash])).rows;
};

test('five wrong codes in ten minutes are a user’s limit, also all at once, and a right one is then refused too', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 404, {}));
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => untilAnswered(() => service.redeem(cpo, '1', { user_id }))),
  );
  const statuses = answers.map(({ status }) => status).sort();
  expect(statuses).toEqual([...Array(5).fill(404), ...Array(7).fill(429)]);
  expect(cpo.received).toHaveLength(5);
  cpo.answer = answerStation();
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-incorrect-codes']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(590);
  expect((await service.redeem(cpo, '1')).status).toBe(201);

  await service.sql.query(
    `update redemption_attempts set began_at = began_at - interval '10 minutes' where user_hash = $1`,
    [hashSubject(deriveKeys(SECRET_KEY), 'user', user_id)],
  );
  expect((await service.redeem(cpo, '1', { user_id })).status).toBe(201);
  await cpo.down();
});

test('all codes that are sent for a user are limited, whatever became of them', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 400, {}));
  for (let i = 0; i < 20; i++) expect((await service.redeem(cpo, '1', { user_id })).status).toBe(502);
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-redemptions']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(500);
  expect(cpo.received).toHaveLength(20);
  expect((await service.redeem(cpo, '1')).status).toBe(502);
  await cpo.down();
});

test('of more than 64 redemptions in flight at one CPO the others are refused at once, and other CPOs are asked', async () => {
  const held: (() => void)[] = [];
  const cpo = await startCpo(service, (res, request) => void held.push(() => answerStation()(res, request)));
  const waiting = Array.from({ length: 64 }, () => untilAnswered(() => service.redeem(cpo, '1')));
  await cpo.asked(64);
  const refused = await service.redeem(cpo, '1');
  expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0);
  const other = await startCpo(service, answerStation());
  expect((await service.redeem(other, '1')).status).toBe(201);
  for (const answer of held) answer();
  await Promise.all(waiting);
  cpo.answer = answerStation();
  expect((await service.redeem(cpo, '1')).status).toBe(201);
  await Promise.all([cpo.down(), other.down()]);
});

test.each([' ', '\u2003\t', '\u200b \ufeff'])(
  'a code of nothing but space is incorrect, and the CPO is not asked: %j',
  async (code) => {
    const cpo = await startCpo(service, answerStation());
    const user_id = randomUUID();
    const refused = await service.redeem(cpo, code, { user_id });
    expect([refused.status, refused.body.type]).toEqual([404, '/problems/incorrect-code']);
    expect(cpo.received).toHaveLength(0);
    expect(await attemptsOf(user_id)).toEqual([]);
    await cpo.down();
  },
);

test('failures of a CPO are not counted as incorrect codes', async () => {
  const user_id = randomUUID();
  const cpo = await startCpo(service, (res) => sendJson(res, 400, {}));
  for (let i = 0; i < 7; i++) expect((await service.redeem(cpo, '1', { user_id })).status).toBe(502);
  await cpo.down();
});

test('after ten failures in a row of three users a CPO is left alone, others are not, and a wrong code is no failure', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  for (let i = 0; i < 9; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  cpo.answer = (res) => sendJson(res, 404, {});
  expect((await service.redeem(cpo, '1')).status).toBe(404);
  cpo.answer = (res) => sendJson(res, 503, {});
  for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  const asked = cpo.received.length;
  const user_id = randomUUID();
  const refused = await service.redeem(cpo, '1', { user_id });
  expect([refused.status, refused.body.type]).toEqual([503, '/problems/unavailable']);
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(20);
  expect(cpo.received).toHaveLength(asked);
  expect(await attemptsOf(user_id)).toEqual([]);
  expect(service.log.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: expect.stringContaining('circuit'), cpo_id: cpo.id }),
  );
  const other = await startCpo(service, answerStation());
  expect((await service.redeem(other, '1')).status).toBe(201);
  await Promise.all([cpo.down(), other.down()]);
});

test('nobody closes a CPO for others: ten redemptions of one user leave it open, whatever the CPO answers', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, {}));
  const [one, two] = [randomUUID(), randomUUID()];
  for (let i = 0; i < 12; i++) {
    const answer = await service.redeem(cpo, '1', { user_id: i % 2 === 0 ? one : two });
    expect(answer.status).toBe(502);
  }
  cpo.answer = answerStation();
  expect((await service.redeem(cpo, '1')).status).toBe(201);
  await cpo.down();
});

test('answers that are too large are no failures of a CPO', async () => {
  const cpo = await startCpo(
    service,
    (res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(`"${'x'.repeat(70_000)}"`),
  );
  for (let i = 0; i < 11; i++) expect((await service.redeem(cpo, '1')).status).toBe(502);
  await cpo.down();
});

test('5xx answers that are large open the circuit, too', async () => {
  const cpo = await startCpo(service, (res) => sendJson(res, 500, { message: 'x'.repeat(70_000) }));
  for (let i = 0; i < 10; i++) expect((await service.redeem(cpo, '1')).body.message).toBe('The CPO answered 500.');
  expect((await service.redeem(cpo, '1')).status).toBe(503);
  expect(cpo.received).toHaveLength(10);
  await cpo.down();
});
