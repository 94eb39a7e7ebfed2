import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import { LIMITS } from '../../src/conformance/cpo/caller';
import { cpoChecks } from '../../src/conformance/cpo/checks';
import { resolver } from '../../src/outbound/address';
import { runRetention } from '../../src/retention/retention';
import { MOST_AT_ONCE, PER_DAY } from '../../src/sandbox/certification/start-run';
import { command } from '../harness/a-command';
import { startNameServer } from '../harness/a-name-server';
import { TOKEN } from '../harness/a-sandbox-cpo';
import {
  CERTIFICATION,
  FAST,
  followRun,
  itemsOf,
  runToEnd,
  sandboxCodes,
  setEndpoint,
  startRun,
  withSandboxCpo,
} from '../harness/certification';
import { endLater } from '../harness/clean-up';
import { type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';
import { close, listenOn } from '../harness/listen';
import { signUp } from '../harness/self-service';
import { untilAnswered, untilSo } from '../harness/until';

let service: Harness;
beforeAll(async () => {
  service = await startHarness({ SANDBOX: 'true' }, { certification: FAST });
});
afterAll(() => service.stop());

/** A backend that does as a test says; no answer by default. */
async function startBackend(listener: RequestListener = () => {}): Promise<string> {
  const server = createServer(listener);
  const port = await listenOn(server);
  endLater(() => close(server));
  return `http://127.0.0.1:${port}`;
}

/** A CPO whose run goes on until the test ends. */
async function withEndlessRun(at: Harness): Promise<TestCpo & { runId: string }> {
  const cpo = await signUp(at);
  await setEndpoint(at, cpo, await startBackend());
  const { status, body } = await startRun(at, cpo);
  expect(status).toBe(202);
  return { ...cpo, runId: body.id };
}

describe('a run', () => {
  test('of a correct endpoint passes all checks but those that loopback cannot show, and fills the list', async () => {
    const cpo = await withSandboxCpo(service);
    const started = await startRun(service, cpo, { codes: sandboxCodes });
    expect(started.status).toBe(202);
    expect(started.body).toEqual({
      id: expect.any(String),
      status: 'running',
      started_at: expect.any(String),
      progress: { done: 0, total: cpoChecks.length },
    });
    expect(started.headers.get('Location')).toBe(`/v1/scsp/certification/runs/${started.body.id}`);
    const { body: run } = await followRun(service, cpo, started.body.id, 30);
    expect(run).toMatchObject({
      status: 'finished',
      progress: { done: cpoChecks.length, total: cpoChecks.length },
      report: { target: cpo.backend.url, counts: { failed: 0, warning: 0, not_run: 3 } },
    });
    const items = await itemsOf(service, cpo, 'cpo');
    expect(items.map(({ id }) => id)).toEqual(cpoChecks.map(({ id }) => id));
    const passed = items.filter(({ verdict }) => verdict === 'passed');
    expect(passed).toHaveLength(cpoChecks.length - 3);
    expect(new Set(passed.map(({ last_seen_at }) => last_seen_at))).toEqual(new Set([run.ended_at]));
  });

  test('of a faulty endpoint fails with evidence and remedy, in the report and in the list', async () => {
    const cpo = await withSandboxCpo(service, { mutant: 'unpair-unknown' });
    const run = await runToEnd(service, cpo, { only: ['unpair-unknown'], protocols: ['ocpi2.2.1'] });
    const [check] = run.report.checks;
    expect(check).toMatchObject({ id: 'unpair-unknown', verdict: 'failed', remedy: expect.any(String) });
    expect(check.evidence.request).toContain(`/v1/cpo/evse/`);
    expect(check.evidence.response).toContain('HTTP 200');
    const item = (await itemsOf(service, cpo, 'cpo')).find(({ id }) => id === 'unpair-unknown');
    expect(item).toEqual({ direction: 'cpo', ...check, last_seen_at: run.ended_at });
  });

  test('of some checks updates these, and the others keep their verdict and its time', async () => {
    const cpo = await withSandboxCpo(service);
    const first = await runToEnd(service, cpo, { only: ['unpair-unknown', 'pair-empty-body'] });
    const second = await runToEnd(service, cpo, { only: ['unpair-unknown'] });
    // Neither is the check that pairs run, nor does the run without codes forget what was seen before.
    const third = await runToEnd(service, cpo, { only: ['pair-ocpp2.0.1'], codes: { good: ['100001', '100002'] } });
    await runToEnd(service, cpo, { only: ['pair-ocpp2.0.1'] });
    const seen = new Map((await itemsOf(service, cpo, 'cpo')).map((item) => [item.id, item]));
    expect(seen.get('unpair-unknown')?.last_seen_at).toBe(second.ended_at);
    expect(seen.get('pair-empty-body')?.last_seen_at).toBe(first.ended_at);
    expect(seen.get('pair-ocpp2.0.1')).toMatchObject({ verdict: 'passed', last_seen_at: third.ended_at });
    expect(seen.get('codes-used')).toMatchObject({ verdict: 'not_run', needs: expect.stringContaining('`used`') });
  });

  test('that may only read pairs nothing', async () => {
    const cpo = await withSandboxCpo(service);
    const { report } = await runToEnd(service, cpo, { codes: sandboxCodes, read_only: true });
    const changing = new Set(cpoChecks.filter(({ changes }) => changes).map(({ id }) => id));
    for (const { id, verdict } of report.checks) if (changing.has(id)) expect(verdict).toBe('not_run');
    expect(cpo.backend.calls.filter(({ status, operation }) => status === 200 && /pair/i.test(operation))).toEqual([]);
  });

  test('is shown to its own CPO only', async () => {
    const [cpo, other] = [await withSandboxCpo(service, { mutant: 'unpair-unknown' }), await signUp(service)];
    const { id } = await runToEnd(service, cpo, { only: ['unpair-unknown'] });
    expect((await followRun(service, other, id)).status).toBe(404);
    expect((await followRun(service, cpo, 'x')).status).toBe(404);
    expect(new Set((await itemsOf(service, other)).map(({ verdict }) => verdict))).toEqual(new Set(['not_run']));
  });

  test('names a check that does not exist', async () => {
    const cpo = await withSandboxCpo(service);
    const { status, body } = await startRun(service, cpo, { only: ['unpair', 'nonsense'] });
    expect([status, body.errors]).toEqual([
      400,
      [{ pointer: '/only/1', message: 'is not the id of a check or an area' }],
    ]);
  });

  test('needs an endpoint', async () => {
    const { status, body } = await startRun(service, await signUp(service));
    expect([status, body.type]).toEqual([409, '/problems/cpo-unavailable']);
  });
});

test('an endpoint must confirm again that it wants to be called, and is not called otherwise', async () => {
  const names = await startNameServer({ 'cpo.test': { a: [[127, 0, 0, 1]] } });
  const servers = resolver.getServers();
  resolver.setServers([names.address]);
  const cpo = await signUp(service);
  const asked: string[] = [];
  let confirms = true;
  const url = await startBackend((req, res) => {
    asked.push(`${req.method} ${req.url}`);
    res.writeHead(confirms ? 200 : 404).end(cpo.id);
  });
  expect((await setEndpoint(service, cpo, url.replace('127.0.0.1', 'cpo.test'))).status).toBe(200);
  confirms = false;
  const { status, body } = await startRun(service, cpo);
  resolver.setServers(servers);
  expect([status, body.type]).toEqual([409, '/problems/cpo-unavailable']);
  expect(body.message).toContain('it answered 404');
  expect(asked).toEqual(Array(2).fill('GET /.well-known/scsp-pairing'));
  const { rows } = await service.sql.query('select from certification_runs where cpo_id = $1', [cpo.id]);
  expect(rows).toEqual([]);
});

test('`scsp cpo list` shows the last finished run of each CPO', async () => {
  const [cpo, other] = [await withSandboxCpo(service, { mutant: 'unpair-unknown' }), await withSandboxCpo(service)];
  const { ended_at, report } = await runToEnd(service, cpo, { only: ['unpair-unknown'] });
  const list = (...args: string[]) =>
    command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, SANDBOX: 'true' }, ['cpo', 'list', ...args]);
  const rows = JSON.parse((await list('--json')).stdout);
  const of = ({ id }: TestCpo) => rows.find((row: { id: string }) => row.id === id).certification;
  expect([of(cpo), of(other)]).toEqual([{ finished_at: ended_at, counts: report.counts }, undefined]);
  const line = (await list()).stdout.split('\n').find((one) => one.startsWith(cpo.id));
  expect(line).toMatch(/ 1 failed$/);
});

test('runs and observed requests are deleted after 7 days, but not the last result of a CPO', async () => {
  const cpo = await withSandboxCpo(service);
  const ids = [];
  for (let i = 0; i < 2; i++) ids.push((await runToEnd(service, cpo, { only: ['unpair-unknown'] })).id);
  const age = `interval '7 days 1 minute'`;
  await service.sql.query(`update certification_runs set started_at = started_at - ${age} where cpo_id = $1`, [cpo.id]);
  await service.sql.query(
    `insert into observed_requests (id, cpo_id, observed_at, request) values ('00000000-0000-7000-8000-000000000000', $1, now() - ${age}, '{}')`,
    [cpo.id],
  );
  const { config, db, log } = service;
  await runRetention({ config, db, log: log.log, stopping: new AbortController().signal });
  const { rows } = await service.sql.query('select id from certification_runs where cpo_id = $1', [cpo.id]);
  expect(rows).toEqual([{ id: ids[1] }]);
  const left = await service.sql.query('select from observed_requests where cpo_id = $1', [cpo.id]);
  expect(left.rows).toEqual([]);
});

test('requests and log lines of a run belong to the trace of the request that started it', async () => {
  const traceId = randomUUID().replaceAll('-', '');
  const traces = new Set<string | undefined>();
  const cpo = await signUp(service);
  const url = await startBackend((req, res) => {
    traces.add(req.headers.traceparent?.toString().split('-')[1]);
    req.resume().on('end', () => void res.writeHead(404).end());
  });
  await setEndpoint(service, cpo, url);
  const { body } = await service.request('POST', '/v1/scsp/certification/runs', {
    token: cpo.token,
    body: { only: ['auth'] },
    headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
  });
  const ended = await service.log.waitFor((line) => line.message === 'run of checks ended' && line.run_id === body.id);
  expect(ended).toMatchObject({ trace_id: traceId, request_id: expect.any(String) });
  expect([...traces]).toEqual([traceId]);
});

describe('evidence', () => {
  test('contains neither the token nor a code, and at most 2 kB of a response, of JSON only', async () => {
    const codes = { good: ['4711-good-1'], used: 'used-0815' };
    const secret = [TOKEN, ...codes.good, codes.used].join(' ');
    const cpo = await signUp(service);
    let answers = 0;
    const url = await startBackend((req, res) => {
      req.resume().on('end', () => {
        const json = !req.url?.endsWith('/unpair');
        // Some answers only say that they are JSON.
        answers += 1;
        const type = json || answers % 2 === 0 ? 'application/json' : 'text/html';
        res.writeHead(418, { 'content-type': type, location: secret });
        res.end(json ? JSON.stringify({ message: secret, more: '€'.repeat(5_000) }) : `<html>${secret}`);
      });
    });
    await setEndpoint(service, cpo, url);
    const run = await runToEnd(service, cpo, { codes });
    expect(run.report.counts.failed).toBeGreaterThan(10);
    for (const { evidence } of run.report.checks)
      expect(Buffer.byteLength(evidence?.response ?? '')).toBeLessThanOrEqual(2_048);
    const { rows } = await service.sql.query(
      `select r::text from certification_runs r union all select r::text from certification_results r`,
    );
    const stored = JSON.stringify([run, await itemsOf(service, cpo), rows]);
    expect(stored).not.toMatch(/4711-good|used-0815|the-token/i);
    expect(stored).not.toContain('<html>');
    expect(stored).toContain('a body that is not JSON is not shown');
  });

  test('of an endpoint that answers without end is cut off, and the run ends', async () => {
    const cpo = await signUp(service);
    const url = await startBackend((_req, res) => {
      res.writeHead(404, { 'content-type': 'application/json' });
      const write = () => res.destroyed || res.write('x'.repeat(16_384), () => setImmediate(write));
      write();
    });
    await setEndpoint(service, cpo, url);
    const run = await runToEnd(service, cpo, { only: ['transport-size'] });
    expect(run.report.checks[0]).toMatchObject({ id: 'transport-size', verdict: 'failed' });
  });
});

describe('limits', () => {
  const busy = async (...cpos: { id: string }[]) => {
    // So that the tests share no run in progress.
    await service.sql.query(`delete from certification_runs where not cpo_id = any ($1)`, [cpos.map(({ id }) => id)]);
  };

  test('one run of a CPO at a time: the second is refused, and names the reason', async () => {
    const cpo = await withEndlessRun(service);
    const second = await startRun(service, cpo);
    expect([second.status, second.body.type]).toEqual([409, '/problems/certification-running']);
    await busy();
  });

  test('four runs in all over all replicas: the fifth is refused with Retry-After', async () => {
    const replica = await startHarness({ SANDBOX: 'true' }, { certification: FAST, databaseUrl: service.databaseUrl });
    const cpos = [];
    for (const at of [service, replica, service, replica]) cpos.push(await withEndlessRun(at));
    const fifth = await withSandboxCpo(service);
    const refused = await startRun(service, fifth);
    expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-requests']);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0);
    await service.sql.query(`update certification_runs set leased_until = now() where cpo_id = $1`, [cpos[0]?.id]);
    expect((await startRun(service, fifth, { only: ['unpair-unknown'] })).status).toBe(202);
    await replica.stop();
    await busy();
  });

  test('of many that start at once, four run', async () => {
    const cpos: TestCpo[] = [];
    for (let i = 0; i < 8; i++) {
      const cpo = await signUp(service);
      await setEndpoint(service, cpo, await startBackend());
      cpos.push(cpo);
    }
    const statuses = (await Promise.all(cpos.map((cpo) => untilAnswered(() => startRun(service, cpo))))).map(
      ({ status }) => status,
    );
    expect(statuses.sort()).toEqual([202, 202, 202, 202, 429, 429, 429, 429]);
    await busy();
  });

  test('ten runs of a CPO within 24 hours: the eleventh is refused until the first is that old', async () => {
    const cpo = await withSandboxCpo(service);
    for (let i = 0; i < 10; i++) await runToEnd(service, cpo, { only: ['unpair-unknown'] });
    await service.sql.query(`update sandbox_limits set run_at = '{}' where cpo_id = $1`, [cpo.id]);
    const refused = await startRun(service, cpo);
    expect([refused.status, refused.body.type]).toEqual([429, '/problems/too-many-requests']);
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(86_000);
    await service.sql.query(
      `update certification_runs set started_at = now() - interval '1 day' where id = (select id from certification_runs where cpo_id = $1 order by id limit 1)`,
      [cpo.id],
    );
    expect((await runToEnd(service, cpo, { only: ['unpair-unknown'] })).status).toBe('finished');
  });

  test('ten starts a minute and a hundred a day, because each asks the endpoint', async () => {
    const cpo = await withSandboxCpo(service);
    const times = (ago: string, count: number) =>
      service.sql.query(
        `update sandbox_limits set run_at = array_fill(now() - $2::interval, array[$3::int]) where cpo_id = $1`,
        [cpo.id, ago, count],
      );
    await times('0 s', 10);
    const refused = await startRun(service, cpo);
    expect([refused.status, refused.body.message]).toEqual([429, expect.stringMatching(/10 a minute and 100 a day/)]);
    await times('1 hour', 100);
    expect(Number((await startRun(service, cpo)).headers.get('Retry-After'))).toBeGreaterThan(80_000);
  });

  test('are those of the contract, as they ship', () => {
    expect([MOST_AT_ONCE, PER_DAY, CERTIFICATION.rate]).toEqual([4, 10, 5]);
    expect(CERTIFICATION.limits).toEqual(LIMITS);
    expect(CERTIFICATION.limits.runMs).toBeLessThan(120_000);
    expect([CERTIFICATION.leaseMs, CERTIFICATION.renewMs]).toEqual([15_000, 2_000]);
  });

  test('the rate holds for a run', async () => {
    const slow = await startHarness({ SANDBOX: 'true' }, { certification: { ...FAST, rate: 20 } });
    const cpo = await signUp(slow);
    const times: number[] = [];
    const url = await startBackend((req, res) => {
      times.push(performance.now());
      req.resume().on('end', () => void res.writeHead(404, { 'content-type': 'application/json' }).end('{}'));
    });
    await setEndpoint(slow, cpo, url);
    const before = performance.now();
    await runToEnd(slow, cpo, { only: ['auth-missing-token', 'auth-wrong-token'] });
    // At 20 requests a second the last cannot come earlier, however busy the machine is.
    expect((times.at(-1) ?? 0) - before).toBeGreaterThanOrEqual(((times.length - 1) / 20) * 1_000 - 1);
    await slow.stop();
  });
});

describe('the end of a run', () => {
  test('is "interrupted" when the service stops, and the long poll returns', async () => {
    const stopping = await startHarness({ SANDBOX: 'true' }, { certification: FAST, databaseUrl: service.databaseUrl });
    const cpo = await withEndlessRun(stopping);
    await stopping.stop();
    expect((await followRun(service, cpo, cpo.runId)).body).toMatchObject({
      status: 'interrupted',
      ended_at: expect.any(String),
    });
  });

  test('is "interrupted" when the lease of a process that died ends, and another run can start', async () => {
    const cpo = await withSandboxCpo(service);
    const { rows } = await service.sql.query(
      `insert into certification_runs (id, cpo_id, leased_until, total)
       values (gen_random_uuid(), $1, now() + interval '1 hour', 7) returning id`,
      [cpo.id],
    );
    const { id } = rows[0];
    expect((await startRun(service, cpo)).status).toBe(409);
    await service.sql.query('update certification_runs set leased_until = now() where id = $1', [id]);
    expect((await followRun(service, cpo, id, 30)).body).toMatchObject({
      status: 'interrupted',
      progress: { done: 0, total: 7 },
    });
    expect((await runToEnd(service, cpo, { only: ['unpair-unknown'] })).status).toBe('finished');
    expect((await followRun(service, cpo, id)).body.status).toBe('interrupted');
  });

  test('is "interrupted" soon after the CPO is suspended, and nothing more is sent', async () => {
    const cpo = await withEndlessRun(service);
    await service.sql.query(`update cpos set suspended_at = now() where id = $1`, [cpo.id]);
    await untilSo(async () => {
      const { rows } = await service.sql.query('select status from certification_runs where id = $1', [cpo.runId]);
      return rows[0].status === 'interrupted';
    });
  });

  test('comes when its CPO is removed, with everything of it', async () => {
    const cpo = await withEndlessRun(service);
    await service.sql.query('delete from tokens where cpo_id = $1', [cpo.id]);
    await service.sql.query('delete from cpos where id = $1', [cpo.id]);
    await service.log.waitFor(({ message, run_id }) => message === 'run of checks ended' && run_id === cpo.runId);
  });
});
