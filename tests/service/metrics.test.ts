import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMetrics } from '../../src/metrics/metrics';
import { answerStation, sendJson, startCpo } from '../harness/a-cpo';
import { answerStatus, startReceiver } from '../harness/a-receiver';
import { startApp } from '../harness/an-app';
import { startBehindProxy } from '../harness/behind-proxy';
import {
  anIncorrectCode,
  aStation,
  type Harness,
  type LogLine,
  NO_LIMITS,
  recordedLog,
  startHarness,
  type TestCpo,
} from '../harness/harness';
import { untilSo } from '../harness/until';

const operations = readFileSync(join(__dirname, '../../docs/operations.md'), 'utf8');
/** So long a scrape may take, whatever the database does. */
const SCRAPE_MS = 2_000;

type Metric = { name: string; type: string; labels: string[] };
const byName = (metrics: Metric[]) => metrics.sort((a, b) => (a.name < b.name ? -1 : 1));

/** The metrics in the table under a heading of docs/operations.md. */
function documented(heading: string): Metric[] {
  const [, section = ''] = operations.split(`### ${heading}\n`);
  const rows = section.split('\n#')[0]?.matchAll(/^\| `(scsp_\w+)` \| (\w+) \| (.*?) \| .+ \|$/gm) ?? [];
  const metrics = [...rows].map(([, name = '', type = '', labels = '']) => ({
    name,
    type,
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label).sort(),
  }));
  expect(metrics.length).toBeGreaterThan(10);
  return byName(metrics);
}

/** The metrics of a scrape that have a series, without those of Node.js. */
function exportedBy(text: string): Metric[] {
  const types = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].filter(
    ([, name]) => !/^(process|nodejs)_/.test(name ?? ''),
  );
  return byName(
    types.flatMap(([, name = '', type = '']) => {
      const suffix = type === 'histogram' ? '_(?:bucket|sum|count)' : '';
      const series = [...text.matchAll(new RegExp(`^${name}${suffix}(?:\\{(.*)\\})? `, 'gm'))];
      if (series.length === 0) return [];
      const labels = series.flatMap(([, pairs = '']) => [...pairs.matchAll(/(\w+)="/g)].map(([, label = '']) => label));
      return [{ name, type, labels: [...new Set(labels)].filter((label) => label !== 'le').sort() }];
    }),
  );
}

/** What a service exports. */
async function scrape(service: Pick<Harness, 'log'>): Promise<string> {
  const { url } = await service.log.waitFor(({ message }) => message === 'metrics');
  const response = await fetch(String(url), { signal: AbortSignal.timeout(SCRAPE_MS) });
  expect(response.status).toBe(200);
  return response.text();
}

/** The value of a series of a scrape. */
const seriesIn = (text: string, series: string) =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1),
  );

let service: Harness;
let cpo: TestCpo;
beforeAll(async () => {
  service = await startHarness({ METRICS_PORT: '0', SANDBOX: 'true', ...NO_LIMITS, LIMIT_CPO_24H: '2' });
  cpo = await service.cpo();
});
afterAll(() => service.stop());

const value = async (series: string) => seriesIn(await scrape(service), series);

describe('pairings', () => {
  test('are counted by CPO, protocol and outcome, those refused before their code is checked too', async () => {
    const station = aStation();
    await service.pair(cpo, (await service.code()).code, station);
    await service.pair(cpo, (await service.code()).code, station);
    await service.pair(cpo, anIncorrectCode());
    await service.pair(cpo, 'x', {});
    await service.pair(cpo, 'x', {}, 'ocpp0.1');
    const outcomes: [string, string][] = [
      ['ocpp2.0.1', 'paired'],
      ['ocpp2.0.1', 'station-already-paired'],
      ['ocpp2.0.1', 'incorrect-code'],
      ['ocpp2.0.1', 'invalid-request'],
      ['unknown', 'unsupported-protocol'],
    ];
    // A response is sent before its metrics are updated.
    for (const [protocol, outcome] of outcomes)
      await untilSo(
        async () =>
          (await value(`scsp_pairings_total{cpo="${cpo.id}",protocol="${protocol}",outcome="${outcome}"}`)) === 1,
      );
  });

  test('a code that paired is counted as used, with the time since its issue', async () => {
    const before = await scrape(service);
    const { code, id } = await service.code();
    await service.pair(cpo, code);
    const after = await scrape(service);
    const grown = (series: string) => seriesIn(after, series) - seriesIn(before, series);
    expect(grown('scsp_codes_total{event="used"}')).toBe(1);
    expect(grown('scsp_code_pairing_seconds_count')).toBe(1);
    const { rows } = await service.sql.query(
      `select extract(epoch from p.paired_at - c.created_at)::float8 as seconds
       from pairings p join pairing_codes c on c.id = p.code_id where c.id = $1`,
      [id],
    );
    // From before the issue to after the pairing, so no shorter than the database saw it.
    expect(grown('scsp_code_pairing_seconds_sum')).toBeGreaterThan(rows[0].seconds - 0.01);
  });

  test('a code with an id that does not tell when it was made is counted without a time', async () => {
    const before = await scrape(service);
    const { code, id } = await service.code();
    await service.sql.query('update pairing_codes set id = gen_random_uuid() where id = $1', [id]);
    expect((await service.pair(cpo, code)).status).toBe(200);
    const after = await scrape(service);
    expect(seriesIn(after, 'scsp_codes_total{event="used"}')).toBe(
      seriesIn(before, 'scsp_codes_total{event="used"}') + 1,
    );
    const times = 'scsp_code_pairing_seconds_count';
    expect(seriesIn(after, times)).toBe(seriesIn(before, times));
  });

  test('an unauthorised pair request can be told from the others by its status', async () => {
    const before = await scrape(service);
    await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: 'unknown', body: {} });
    await service.request('POST', '/v1/scsp/ocpp2.0.1/pair', { token: service.appToken, body: {} });
    for (const status of [401, 403]) {
      const series = `scsp_request_duration_seconds_count{operation="pairOcpp",status="${status}"}`;
      await untilSo(async () => (await value(series)) === (seriesIn(before, series) || 0) + 1);
    }
    expect(before).toContain('scsp_request_duration_seconds_bucket{le="0.25",operation="pairOcpp",status="200"}');
  });
});

describe('calls to CPOs', () => {
  const calls = (id: string, operation: string, outcome: string) =>
    `scsp_cpo_call_duration_seconds_count{cpo="${id}",operation="${operation}",outcome="${outcome}"}`;
  const redemptions = (id: string, outcome: string) =>
    `scsp_pairings_total{cpo="${id}",protocol="ocpp2.0.1",outcome="${outcome}"}`;

  test('are counted by outcome, and so are redemptions', async () => {
    const backend = await startCpo(service, answerStation());
    const answers: [outcome: string, refusal: string, answer: typeof backend.answer][] = [
      ['answered', 'paired', answerStation()],
      ['incorrect-code', 'incorrect-code', (res) => sendJson(res, 404, {})],
      ['client-error', 'cpo-failed', (res) => sendJson(res, 400, {})],
      ['unauthorized', 'cpo-failed', (res) => sendJson(res, 401, {})],
      ['server-error', 'cpo-failed', (res) => sendJson(res, 500, {})],
      ['invalid-response', 'cpo-failed', (res) => sendJson(res, 200, {})],
      ['no-connection', 'cpo-failed', (res) => res.destroy()],
    ];
    for (const [, , answer] of answers) {
      backend.answer = answer;
      await service.redeem(backend, '123');
    }
    const text = await scrape(service);
    for (const [outcome] of answers) expect(seriesIn(text, calls(backend.id, 'pair', outcome))).toBe(1);
    expect(seriesIn(text, redemptions(backend.id, 'paired'))).toBe(1);
    expect(seriesIn(text, redemptions(backend.id, 'incorrect-code'))).toBe(1);
    expect(seriesIn(text, redemptions(backend.id, 'cpo-failed'))).toBe(5);
    const unknown = randomUUID();
    await service.redeem({ id: unknown }, '123');
    expect(await scrape(service)).not.toContain(unknown);
    await backend.down();
  });

  test('those that an open circuit prevents are counted, and the circuit is shown', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    for (let i = 0; i < 11; i++) await service.redeem(backend, '123');
    const text = await scrape(service);
    expect(seriesIn(text, `scsp_cpo_circuit_open{cpo="${backend.id}"}`)).toBe(1);
    expect(seriesIn(text, calls(backend.id, 'pair', 'server-error'))).toBe(10);
    expect(seriesIn(text, calls(backend.id, 'pair', 'circuit-open'))).toBe(1);
    await backend.down();
  });
});

describe('the delay of a notification', () => {
  const unpaired = async (backend: TestCpo) => {
    const uid = `S-${randomUUID()}`;
    await service.pair(backend, (await service.code()).code, aStation(uid));
    await service.unpairAsApp(uid);
  };
  const sum = () => value('scsp_cpo_notification_delay_seconds_sum');
  const notified = (backend: TestCpo) =>
    service.log.waitFor((line) => line.message === 'CPO notified of an unpairing' && line.cpo_id === backend.id);
  /** Waits until the first call has failed and is stored, and puts the next off until `age`. */
  const failedOnce = (backend: TestCpo) =>
    untilSo(async () => {
      const { rowCount } = await service.sql.query(
        `update outbox set next_attempt_at = now() + interval '1 hour'
         where cpo_id = $1 and attempts > 0 and leased_until is null
           and exists (select from calls where cpo_id = $1)`,
        [backend.id],
      );
      return rowCount === 1;
    });
  /** As if the notifications of a CPO had been stored so long ago. */
  const age = (backend: TestCpo, seconds: number) =>
    service.sql.query(
      `update outbox set created_at = now() - make_interval(secs => $2), next_attempt_at = now(), leased_until = null
       where cpo_id = $1`,
      [backend.id, seconds],
    );

  test('is counted from the unpair', async () => {
    const before = await sum();
    const backend = await startCpo(service, (res) => sendJson(res, 200, {}));
    await unpaired(backend);
    await notified(backend);
    expect((await sum()) - before).toBeLessThan(60);
  });

  test("is counted from the CPO's first answer after its last failed call, if that was later", async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    await unpaired(backend);
    await failedOnce(backend);
    const before = await sum();
    backend.answer = (res) => sendJson(res, 200, {});
    await age(backend, 100_000);
    await notified(backend);
    expect((await sum()) - before).toBeLessThan(1_000);
  });

  test('is counted from the unpair, if no call has failed since', async () => {
    const backend = await startCpo(service, (res) => sendJson(res, 500, {}));
    const before = await sum();
    await unpaired(backend);
    await failedOnce(backend);
    await service.sql.query(`update calls set called_at = called_at - interval '1 week' where cpo_id = $1`, [
      backend.id,
    ]);
    backend.answer = (res) => sendJson(res, 200, {});
    await age(backend, 100_000);
    await notified(backend);
    expect((await sum()) - before).toBeGreaterThanOrEqual(100_000);
  });
});

describe('the delay of a webhook', () => {
  const sum = () => value('scsp_webhook_delivery_delay_seconds_sum');
  const count = () => value('scsp_webhook_delivery_delay_seconds_count');
  /** As if the endpoints and all events were so much older. */
  const age = async (seconds: number) => {
    await service.sql.query('update events set published_at = published_at - make_interval(secs => $1)', [seconds]);
    await service.sql.query('update webhook_endpoints set created_at = created_at - make_interval(secs => $1)', [
      seconds,
    ]);
  };

  test('is counted from the first answer after a failed attempt, of events accepted at the first attempt', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver(answerStatus(500))];
    const endpoint = await app.endpoint({ url: receiver.url, types: ['station.paired'] });
    const [sumBefore, countBefore] = [await sum(), await count()];
    await service.pair(cpo, (await service.code()).code);
    await endpoint.attempted(1);
    expect(await count()).toBe(countBefore);
    await age(100_000);
    receiver.answer = answerStatus(204);
    await endpoint.due();
    await endpoint.settled();
    expect(await count()).toBe(countBefore);
    // Published long before the endpoint answered again, but not attempted before.
    await service.pair(cpo, (await service.code()).code);
    await untilSo(async () => (await count()) === countBefore + 1);
    expect((await sum()) - sumBefore).toBeLessThan(1_000);
    await receiver.down();
  });

  test('is not counted for an event that is delivered again', async () => {
    const [app, receiver] = [await startApp(service), await startReceiver()];
    const endpoint = await app.endpoint({ url: receiver.url, types: ['station.paired'] });
    await service.pair(cpo, (await service.code()).code);
    await untilSo(async () => (await endpoint.list()).length === 1);
    await endpoint.settled();
    await endpoint.request('PATCH', '', { status: 'disabled' });
    await service.pair(cpo, (await service.code()).code);
    await untilSo(async () => (await endpoint.list()).length === 2);
    await endpoint.request('PATCH', '', { status: 'enabled' });
    const before = await count();
    await endpoint.request('POST', '/redeliver', { since: '2020-01-01T00:00:00Z' });
    await untilSo(async () => (await endpoint.row()).redeliver_until === null);
    await endpoint.settled();
    // What was published before the endpoint was created, too; one was delivered before.
    const delivered = (await endpoint.deliveries()).length + 1;
    expect(delivered).toBeGreaterThan(3);
    const line = (logged: LogLine) =>
      logged.message === 'webhook event delivered' && logged.endpoint_id === endpoint.id;
    await untilSo(() => service.log.lines.filter(line).length === delivered);
    expect(await count()).toBe(before);
    await receiver.down();
  });
});

test('a refused request is counted by the limit that was reached', async () => {
  const small = await startHarness(
    { METRICS_PORT: '0', SANDBOX: 'true', ...NO_LIMITS },
    { databaseUrl: service.databaseUrl, load: { longPolls: 2, longPollsPerCaller: 1 } },
  );
  const { id } = await small.code();
  const series = (text: string) =>
    ['caller', 'long_polls'].map((reason) => seriesIn(text, `scsp_requests_shed_total{reason="${reason}"}`));
  const other = await startApp(small);
  const polls = [small.followCode(id, 30)];
  await untilSo(async () => seriesIn(await scrape(small), 'scsp_long_polls') === 1);
  expect((await small.followCode(id, 30)).status).toBe(429);
  polls.push(small.request('GET', `/v1/app/pairing-codes/${id}?wait=30`, { token: other.token }));
  await untilSo(async () => seriesIn(await scrape(small), 'scsp_long_polls') === 2);
  const third = await startApp(small);
  expect((await small.request('GET', `/v1/app/pairing-codes/${id}?wait=30`, { token: third.token })).status).toBe(503);
  const text = await scrape(small);
  expect(series(text)).toEqual([1, 1]);
  expect(seriesIn(text, 'scsp_requests_in_flight')).toBe(0);
  await small.request('DELETE', `/v1/app/pairing-codes/${id}`, { token: small.appToken });
  await Promise.all(polls);
  await small.stop();
});

test('while the database is away a scrape is answered, and says why', async () => {
  const { proxy, service: away, stop } = await startBehindProxy({ METRICS_PORT: '0' });
  await untilSo(async () => seriesIn(await scrape(away), 'scsp_listener_connected') === 1);
  proxy.swallow();
  const asked = [away.request('GET', '/ready'), away.request('GET', '/ready')];
  await untilSo(async () => seriesIn(await scrape(away), 'scsp_listener_connected') === 0);
  for (const { status } of await Promise.all(asked)) expect(status).toBe(503);
  const text = await scrape(away);
  expect(seriesIn(text, 'scsp_database_errors_total{reason="timeout"}')).toBeGreaterThan(0);
  expect(seriesIn(text, 'scsp_listener_disconnected_seconds')).toBeGreaterThan(0);
  await proxy.down();
  await away.request('GET', '/ready');
  expect(seriesIn(await scrape(away), 'scsp_database_errors_total{reason="unreachable"}')).toBeGreaterThan(0);
  await proxy.up();
  await untilSo(async () => seriesIn(await scrape(away), 'scsp_listener_disconnected_seconds') === 0);
  await stop();
});

test('a label by CPO has at most 101 values', async () => {
  const metrics = createMetrics(recordedLog().log);
  const origin = { requestId: 'x', trace: { traceId: 'x', spanId: 'x', sampled: false } };
  for (let i = 0; i < 150; i++) {
    const cpo_id = `cpo ${i}`;
    const attempt = { cpo_id, payload_protocol: 'ocpp2.0.1' };
    metrics.stationPaired({ ...attempt, pairing_id: 'x' }, origin);
    metrics.dayLimitReached(cpo_id, origin);
    metrics.circuitOpened(cpo_id);
    metrics.cpoNotCalled(cpo_id, 'pair');
    metrics.cpoCallFailed(attempt, origin, 'x');
  }
  const found = await metrics.registry.getMetricsAsJSON();
  const byCpo = exportedBy(await metrics.registry.metrics()).filter(({ labels }) => labels.includes('cpo'));
  expect(byCpo.map(({ name }) => name)).toEqual(
    documented('Counted by the process')
      .filter(({ labels }) => labels.includes('cpo'))
      .map(({ name }) => name),
  );
  for (const { name } of byCpo) {
    const values = found.find((one) => one.name === name)?.values ?? [];
    const labels = new Set(values.map((one) => (one.labels as { cpo?: string }).cpo));
    expect([name, labels.size, labels.has('other'), labels.has('cpo 99')]).toEqual([name, 101, true, true]);
  }
});

test('docs/operations.md lists what a process exports, with type and labels', async () => {
  // The tests above have made a series of each metric by CPO, all but this one.
  const guessing = await service.cpo();
  for (let i = 0; i < 3; i++) await service.pair(guessing, anIncorrectCode());
  const fromDatabase = new Set(documented('Read from the database').map(({ name }) => name));
  const found = exportedBy(await scrape(service)).filter(({ name }) => !fromDatabase.has(name));
  expect(found).toEqual(documented('Counted by the process'));
});

test('docs/operations.md lists what is read from the database, with type and labels', async () => {
  const all = documented('Read from the database');
  // It has a value where there is a standby.
  const lag = all.find(({ name }) => name === 'scsp_database_replication_lag_seconds');
  expect(await scrape(service)).toContain(`# TYPE ${lag?.name} ${lag?.type}`);
  const expected = all.filter((metric) => metric !== lag);
  const names = new Set(expected.map(({ name }) => name));
  await service.code();
  await untilSo(async () => seriesIn(await scrape(service), 'scsp_stored_state_read_timestamp_seconds') > 0);
  const found = async () => exportedBy(await scrape(service)).filter(({ name }) => names.has(name));
  await untilSo(async () => (await found()).length === expected.length);
  expect(await found()).toEqual(expected);
});
