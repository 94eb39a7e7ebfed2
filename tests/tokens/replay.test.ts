import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issueToken, rotateToken } from '../../src/tokens/tokens';
import { command } from '../harness/a-command';
import { type Harness, SECRET_KEY, startHarness } from '../harness/harness';

let service: Harness;
const folder = mkdtempSync(join(tmpdir(), 'scsp-revoke-'));
beforeAll(async () => {
  service = await startHarness();
});
afterAll(async () => {
  await service.stop();
  rmSync(folder, { recursive: true });
});

const scsp = (...args: string[]) => command({ DATABASE_URL: service.databaseUrl, SECRET_KEY }, args);
async function json(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await scsp(...args, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}
const file = (content: string) => {
  const name = join(folder, randomUUID());
  writeFileSync(name, content);
  return name;
};
const replay = (content: string) => json('token', 'revoke', '--replay', file(content));
async function aToken() {
  const { id, token } = await issueToken(service.operator, { role: 'app', appName: 'an app' });
  service.secrets.add(token);
  return id;
}
/** As a restore brings them back. */
const restore = (...ids: string[]) =>
  service.sql.query('update tokens set revoked_at = null where id = any ($1)', [ids]);
const isRevoked = async (id: string) =>
  (await service.sql.query('select from tokens where id = $1 and revoked_at is not null', [id])).rowCount === 1;

test('what the audit log says is revoked again, however often, and nothing else', async () => {
  const [gone, stays] = [await aToken(), await aToken()];
  const successor = await rotateToken(service.operator, gone, 24);
  service.secrets.add(successor.token);
  await json('token', 'revoke', gone);
  const exported = JSON.stringify(await json('audit', 'list', '--limit', '1000000'));
  await restore(gone, successor.id);
  expect(await replay(exported)).toEqual({ revocations: 2, tokens: 2 });
  expect(await Promise.all([gone, successor.id, stays].map(isRevoked))).toEqual([true, true, false]);
  expect(await replay(exported)).toEqual({ revocations: 2, tokens: 0 });
});

test('the successor of a token that was revoked alone stays', async () => {
  const gone = await aToken();
  const successor = await rotateToken(service.operator, gone, 24);
  service.secrets.add(successor.token);
  await json('token', 'revoke', gone, '--only');
  const [entry] = await json('audit', 'list', '--action', 'token.revoke', '--limit', '1');
  await restore(gone);
  expect(await replay(JSON.stringify([entry]))).toEqual({ revocations: 1, tokens: 1 });
  expect(await Promise.all([gone, successor.id].map(isRevoked))).toEqual([true, false]);
});

test('each replica logs a revocation, and the log can be replayed', async () => {
  const cpo = await service.cpo();
  const [{ id }] = (await service.sql.query('select id from tokens where cpo_id = $1', [cpo.id])).rows;
  expect((await service.request('GET', '/v1/scsp/me', { token: cpo.token })).status).toBe(200);
  await json('token', 'revoke', id);
  const line = await service.log.waitFor((one) => one.message === 'token revoked' && one.token_id === id);
  expect(line).toMatchObject({ level: 'info', role: 'cpo', cpo_id: cpo.id });
  await restore(id);
  const log = ['npm start', JSON.stringify(line), JSON.stringify(line), '{"message":"listening"}', ''].join('\n');
  expect(await replay(log)).toEqual({ revocations: 1, tokens: 1 });
  expect(await isRevoked(id)).toBe(true);
});

test('tokens that were issued after the backup are passed over', async () => {
  const entry = { action: 'token.revoke', subject_id: randomUUID() };
  expect(await replay(JSON.stringify([entry]))).toEqual({ revocations: 1, tokens: 0 });
});

test.each([
  '{"message":"token revoked","token_',
  '{"message":"token revoked"}',
  '[{"action":"token.revoke","subject_id":"1"}]',
])('a file that is damaged is refused: %s', async (content) => {
  expect((await scsp('token', 'revoke', '--replay', file(content))).code).toBe(1);
});

test.each([[[]], [[randomUUID(), '--replay', 'file']], [['--only', '--replay', 'file']]])(
  'takes an id or a file: %j',
  async (args) => {
    expect(await scsp('token', 'revoke', ...args)).toMatchObject({ code: 2, stdout: '' });
  },
);
