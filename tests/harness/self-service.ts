import { randomUUID } from 'node:crypto';
import { type Answer, aStation, type Harness, type TestCpo } from './harness';

/** Creates a CPO as its own developer does. */
export async function signUp(service: Harness, name = 'Station Works'): Promise<TestCpo> {
  // The limit by address is not what these tests are about.
  await service.sql.query('delete from sandbox_sign_ups');
  const { status, body } = await service.request('POST', '/v1/sandbox/cpos', { body: { name } });
  if (status !== 201) throw new Error(`no CPO: ${JSON.stringify(body)}`);
  service.secrets.add(body.token);
  return { id: body.cpo.id, name: body.cpo.name, token: body.token };
}

type Sent = { uid?: string; key?: string | undefined; protocol?: string };

/** Pairs by a test code, under an Idempotency-Key if one is given. */
export function pairBy(service: Harness, cpo: TestCpo, code: string, sent: Sent = {}): Promise<Answer> {
  const { uid = `station-${randomUUID()}`, key, protocol = 'ocpp2.0.1' } = sent;
  return service.request('POST', `/v1/scsp/${protocol}/pair`, {
    token: cpo.token,
    body: { code, charging_station: aStation(uid) },
    ...(key !== undefined && { headers: { 'Idempotency-Key': key } }),
  });
}

/** The outcomes of a CPO's attempts, the newest first. */
export async function outcomesOf(service: Harness, cpo: TestCpo): Promise<string[]> {
  const { body } = await service.request('GET', '/v1/scsp/attempts', { token: cpo.token });
  return body.items.map(({ outcome }: { outcome: string }) => outcome);
}

/** The uids of a CPO's paired stations. */
export async function uidsOf(service: Harness, cpo: TestCpo): Promise<string[]> {
  const { body } = await service.request('GET', '/v1/scsp/charging-stations?limit=1000', { token: cpo.token });
  return body.items.map(({ uid }: { uid: string }) => uid);
}
