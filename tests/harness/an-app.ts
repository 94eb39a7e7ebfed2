import { randomUUID } from 'node:crypto';
import { issueToken } from '../../src/tokens/tokens';
import type { Harness } from './harness';
import { untilSo } from './until';

/** An app of its own, with its webhook endpoints. */
export async function startApp(service: Harness, appName = `app ${randomUUID()}`) {
  const { id: tokenId, token } = await issueToken(service.operator, { role: 'app', appName });
  service.secrets.add(token);
  const request = (method: string, path: string, body?: unknown) =>
    service.request(method, `/v1/app/webhook-endpoints${path}`, { token, body });
  const rows = async (sql: string, values: unknown[] = []) => (await service.sql.query(sql, values)).rows;

  const app = {
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
        deliveries: () => rows('select * from webhook_deliveries where endpoint_id = $1 order by position', [id]),
        row: async () => (await rows('select * from webhook_endpoints where id = $1', [id]))[0],
        set: (columns: string) => rows(`update webhook_endpoints set ${columns} where id = $1`, [id]),
        request: (method: string, path = '', sent?: unknown) => request(method, `/${id}${path}`, sent),
        /** Makes everything due that waits for its next attempt. */
        due: () =>
          rows(
            `update webhook_deliveries set next_attempt_at = now()
             where endpoint_id = $1 and status = 'pending' and leased_until is null`,
            [id],
          ),
        /** Resolves when no delivery is pending. */
        settled: () =>
          untilSo(async () => {
            const pending = await rows(
              `select from webhook_deliveries where endpoint_id = $1 and (status = 'pending' or leased_until > now())`,
              [id],
            );
            return pending.length === 0;
          }),
        /** What the list of deliveries shows, the latest first. */
        async list(query = ''): Promise<any[]> {
          return (await request('GET', `/${id}/deliveries?limit=100${query}`)).body.items;
        },
      };
    },

    /** Commits events that only this app sees, and publishes them; returns their ids in the order of the feed. */
    async events(count: number, type = 'cpo.notified'): Promise<string[]> {
      const inserted = await rows(
        `insert into events (id, type, pairing_id, cpo_id, attempts, app_name)
         select gen_random_uuid(), $2, gen_random_uuid(), gen_random_uuid(), 1, $3 from generate_series(1, $1)
         returning id, seq`,
        [count, type, appName],
      );
      const ids = inserted.sort((a, b) => Number(a.seq) - Number(b.seq)).map(({ id }) => String(id));
      await publish(service, ids);
      return ids;
    },
  };
  return app;
}

export type App = Awaited<ReturnType<typeof startApp>>;
export type Endpoint = Awaited<ReturnType<App['endpoint']>>;

/** Publishes events, until those with the ids have positions. */
export async function publish(service: Harness, ids: readonly string[]): Promise<void> {
  await untilSo(async () => {
    await service.sql.query('select * from scsp_publish_events_v1(500)');
    const { rowCount } = await service.sql.query('select from events where id = any ($1) and position is not null', [
      ids,
    ]);
    return rowCount === ids.length;
  });
}
