import { randomUUID } from 'node:crypto';
import { Writable } from 'node:stream';
import { createLog } from '../../src/log';
import { type SandboxCpo, startSandboxCpo } from '../../src/sandbox/cpo';
import { commandsOf, document, RFC_3339, refusal } from '../harness/a-command';
import { aStation, type Harness, startHarness } from '../harness/harness';

/** Nobody listens there. */
const CLOSED = 'http://127.0.0.1:1';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' });
});
afterAll(() => service.stop());

const { json, scsp, text, withInput } = commandsOf(() => service);

describe('scsp outbox', () => {
  let backend: SandboxCpo | undefined;
  afterAll(() => backend?.stop());

  /** A CPO that cannot be reached, and a station of its that its customer has unpaired. */
  async function untold(uid: string, outboundToken: string) {
    const name = `CPO ${randomUUID()}`;
    const add = ['cpo', 'add', name, '--base-url', CLOSED, '--outbound-token-stdin', '--json'];
    const { id } = document(await withInput(add, outboundToken));
    const { token } = await json('token', 'issue', '--cpo', id);
    const { code } = await service.code();
    expect((await service.pair({ id, name, token }, code, aStation(uid))).status).toBe(200);
    const unpaired = await service.request('POST', `/v1/app/charging-stations/${uid}/unpair`, {
      token: service.appToken,
    });
    expect(unpaired.status).toBe(200);
    const { pairing_id } = await service.log.waitFor(
      ({ message, cpo_id }) => message === 'CPO not notified of an unpairing yet' && cpo_id === id,
    );
    const waiting = await json('outbox', 'list');
    const entry = waiting.find((one: { pairing_id: string }) => one.pairing_id === pairing_id);
    return { id: String(entry.id), pairing_id, cpo: { id, name } };
  }

  const find = async (id: string) => (await json('outbox', 'list')).find((entry: { id: string }) => entry.id === id);

  test('the list shows each pending notification, its attempts, the next one, and why the last failed', async () => {
    const uid = `station-${randomUUID()}`;
    const { id, pairing_id, cpo } = await untold(uid, 'token');
    const listed = await find(id);
    expect(listed).toEqual({
      id,
      pairing_id,
      request_id: expect.stringMatching(/^[\w-]{36}$/),
      cpo_id: cpo.id,
      cpo: cpo.name,
      uid,
      created_at: expect.stringMatching(RFC_3339),
      attempts: expect.any(Number),
      next_attempt_at: expect.stringMatching(RFC_3339),
      last_error: 'The CPO could not be reached: the connection was refused.',
    });
    expect(listed.attempts).toBeGreaterThan(0);

    const [heading, ...rows] = await text('outbox', 'list');
    expect(heading).toEqual([
      'ID',
      'CPO',
      'UID',
      'CREATED AT',
      'ATTEMPTS',
      'NEXT ATTEMPT AT',
      'GAVE UP AT',
      'LAST ERROR',
    ]);
    const timed = [expect.stringMatching(/^\d+$/), expect.stringMatching(RFC_3339), '-'];
    expect(rows).toContainEqual([
      id,
      cpo.name,
      uid,
      listed.created_at,
      ...timed,
      'The CPO could not be reached: the connection was refused.',
    ]);
  });

  test('a dead-lettered notification is sent at once when it is retried, and leaves the list', async () => {
    const token = `token-${randomUUID()}`;
    const { id, pairing_id, cpo } = await untold('SANDBOX-200000', token);
    await service.sql.query(
      'update outbox set gave_up_at = now(), attempts = attempts + 1, leased_until = null where id = $1',
      [id],
    );
    const givenUp = await find(id);
    expect(givenUp).toMatchObject({ gave_up_at: expect.stringMatching(RFC_3339) });
    expect(givenUp).not.toHaveProperty('next_attempt_at');

    const quiet = new Writable({ write: (_chunk, _encoding, done) => done() });
    backend = await startSandboxCpo(0, token, createLog('error', quiet));
    await service.sql.query('update cpos set base_url = $2 where id = $1', [cpo.id, backend.url]);
    expect(await text('outbox', 'retry', id)).toEqual([['id', id]]);
    await service.log.waitFor(
      (line) => line.message === 'CPO notified of an unpairing' && line.pairing_id === pairing_id,
    );
    expect(backend.calls).toMatchObject([{ uid: 'SANDBOX-200000', status: 200 }]);
    expect(await find(id)).toBeUndefined();
    expect(await scsp('outbox', 'retry', id)).toEqual(refusal(`no notification in the outbox has the id ${id}`));
  });

  test('a retry begins anew to count attempts', async () => {
    const { id } = await untold(`station-${randomUUID()}`, 'token');
    await service.sql.query('update outbox set gave_up_at = now(), attempts = 99, leased_until = null where id = $1', [
      id,
    ]);
    expect(await json('outbox', 'retry', id)).toEqual({ id });
    const retried = await find(id);
    expect(retried.attempts).toBeLessThan(99);
    expect(retried).not.toHaveProperty('gave_up_at');
  });

  test('what is dropped leaves the list and the database, and the audit log says who did it', async () => {
    const { id, cpo } = await untold(`station-${randomUUID()}`, 'token');
    expect(await json('outbox', 'drop', id)).toEqual({ id });
    expect(await find(id)).toBeUndefined();
    expect((await service.sql.query('select from outbox where id = $1', [id])).rowCount).toBe(0);
    const [last] = await json('audit', 'list');
    expect(last).toMatchObject({ action: 'outbox.drop', subject_id: id, detail: { cpo_id: cpo.id } });
  });

  test('a notification whose uid was erased cannot be retried, only dropped', async () => {
    const { id } = await untold(`station-${randomUUID()}`, 'token');
    await service.sql.query('update outbox set gave_up_at = now(), uid = null where id = $1', [id]);
    expect(await find(id)).not.toHaveProperty('uid');
    expect(await scsp('outbox', 'retry', id)).toEqual(
      refusal(`the uid of ${id} was erased, so that its CPO cannot be notified: run scsp outbox drop ${id}`),
    );
    expect(await json('outbox', 'drop', id)).toEqual({ id });
  });

  test.each(['retry', 'drop'])('what does not wait cannot be taken: %s', async (verb) => {
    for (const id of [randomUUID(), 'no-such-entry'])
      expect(await scsp('outbox', verb, id)).toEqual(refusal(`no notification in the outbox has the id ${id}`));
  });
});
