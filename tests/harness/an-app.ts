import { randomUUID } from 'node:crypto';
import { issueToken } from '../../src/tokens/tokens';
import type { Answer, Harness } from './harness';
import { untilSo } from './until';

function listed({ status, body }: Answer): any[] {
  if (status !== 200) throw new Error(`no list: ${JSON.stringify(body)}`);
  return body.items;
}

/** An app of its own, with its webhook endpoints. */
export async function startApp(service: Harness, appName = `app ${randomUUID()}`) {
  const { id: tokenId, token } = await issueToken(service.operator, { role: 'app', appName });
  service.secrets.add(token);
  const request = (method: string, path: string, body?: unknown) =>
    service.request(method, `/v1/app/webhook-endpoints${path}`, { token, body });
  const rows = async (sql: string, values: unknown[] = []) => (await service.sql.query(sql, values)).rows;

  return {
    name: appName,
    token,
    tokenId,
    request,

    /** Creates an endpoint; `deliveries` and `row` ask the database about it. */
    async endpoint(body: { url: string; types?: string[]; description?: string }) {
      const created = await request('POST', '', body);
      if (created.status !== 201) throw new Error(`no endpoint: ${JSON.stringify(created.body)}`);
      const { id, secret }: { id: string; secret: string } = created.body;
      service.secrets.add(secret);
      return {
        id,
        secret,
        request: (method: string, path = '', sent?: unknown) => request(method, `/${id}${path}`, sent),
        row: async () => (await rows('select * from webhook_endpoints where id = $1', [id]))[0],
        deliveries: () => rows('select * from webhook_deliveries where endpoint_id = $1 order by position', [id]),
        set: (columns: string) => rows(`update webhook_endpoints set ${columns} where id = $1`, [id]),
        /** Makes everything due that waits for its next attempt. */
        due: () =>
          rows(
            `update webhook_deliveries set next_attempt_at = now()
             where endpoint_id = $1 and status = 'pending' and leased_until is null`,
            [id],
          ),
        /** Resolves when no call is in flight and so many attempts were made of each delivery. */
        attempted: (attempts: number) =>
          untilSo(async () => {
            const all = await rows('select attempts, leased_until from webhook_deliveries where endpoint_id = $1', [
              id,
            ]);
            return all.length > 0 && all.every((one) => one.attempts >= attempts && one.leased_until === null);
          }),
        /** Resolves when no delivery is pending. */
        settled: () =>
          untilSo(async () => {
            const pending = `select from webhook_deliveries where endpoint_id = $1 and (status = 'pending' or leased_until > now())`;
            return (await rows(pending, [id])).length === 0;
          }),
        /** What the list of deliveries shows, the latest first. */
        list: async (query = ''): Promise<any[]> => listed(await request('GET', `/${id}/deliveries?limit=100${query}`)),
        /** What the audit log says about it, the oldest first. */
        audit: () => rows('select actor, action, detail from audit where subject_id = $1 order by id', [id]),
      };
    },

    /** Commits events that only this app sees, and waits until they are published; returns their ids in the order of the feed. */
    async events(count: number, type = 'cpo.notified'): Promise<string[]> {
      const inserted = await rows(
        `with inserted as (
           insert into events (id, type, pairing_id, cpo_id, attempts, app_name)
           select gen_random_uuid(), $2, gen_random_uuid(), gen_random_uuid(), 1, $3 from generate_series(1, $1)
           returning id, seq
         )
         select id, seq, pg_notify('scsp_events', 'unpublished') from inserted`,
        [count, type, appName],
      );
      const ids = inserted.sort((a, b) => Number(a.seq) - Number(b.seq)).map(({ id }) => String(id));
      await untilSo(async () => {
        const published = 'select from events where id = any ($1) and position is not null';
        return (await rows(published, [ids])).length === count;
      });
      return ids;
    },
  };
}

export type App = Awaited<ReturnType<typeof startApp>>;
export type Endpoint = Awaited<ReturnType<App['endpoint']>>;
