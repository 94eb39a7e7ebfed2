import { randomUUID } from 'node:crypto';
import { random } from '../../src/crypto/random';
import { publishEvents } from '../../src/events/publish';
import { FINDING_NAMES, findingsOf } from '../../src/status/findings';
import { readStoredState } from '../../src/status/read-stored-state';
import type { ReplicaState } from '../../src/status/replica-state';
import { issueToken, rotateToken } from '../../src/tokens/tokens';
import { command } from '../harness/a-command';
import { anIncorrectCode, aStation, type Harness, SECRET_KEY, startHarness, type TestCpo } from '../harness/harness';
import { untilSo } from '../harness/until';

const FRESH = `update replicas set seen_at = now() + interval '1 hour'`;
const LIMITS = { LIMIT_CPO_10MIN: '3' };

let service: Harness;
beforeAll(async () => {
  // It writes its own row once only, which then stays fresh for an hour.
  service = await startHarness(LIMITS, { status: { heartbeat: { checkMs: 3_600_000 } } });
  await untilSo(async () => (await sql('select from replicas')).rowCount === 1);
  await sql(FRESH);
  await service.service.stopPublishing();
});
afterAll(() => service.stop());

const sql = (text: string, values: unknown[] = []) => service.sql.query(text, values);
const scsp = (...args: string[]) => command({ DATABASE_URL: service.databaseUrl, SECRET_KEY, ...LIMITS }, args);
const found = async () => findingsOf(await readStoredState(service));

type Situation = {
  /** Brings it about and returns what ends it. */
  readonly begin: () => Promise<() => Promise<unknown>>;
  readonly text: RegExp;
};

/** Another replica in this state. */
const replica =
  (state: Partial<ReplicaState>, seen = 'now()') =>
  async () => {
    const id = randomUUID();
    await sql(
      `insert into replicas (id, seen_at, version, node_version, host, state) values ($1, ${seen}, '1.0.0', '20', 'host-b', $2)`,
      [id, JSON.stringify(state)],
    );
    return () => sql('delete from replicas where id = $1', [id]);
  };

/** A CPO of which each of six calls had this outcome; then it answers. */
const calls =
  (outcome: string, status: number | null, isOpen = false) =>
  async () => {
    const { id } = await aCpoToCall();
    const close = isOpen ? await openCircuit(id)() : undefined;
    const call = (outcome: string, status: number | null) =>
      sql(
        `insert into calls (id, cpo_id, called_at, operation, payload_protocol, request_id, status, duration_ms, outcome)
       values ($1, $2, now(), 'pair', 'ocpp1.6', 'r', $3, 1, $4)`,
        [random.uuid(), id, status, outcome],
      );
    for (let i = 0; i < 6; i++) await call(outcome, status);
    return async () => {
      for (let i = 0; i < 7; i++) await call('answered', 200);
      await close?.();
    };
  };

const openCircuit = (cpo_id: string) => replica({ circuits: [{ cpo_id, open_since: new Date().toISOString() }] });

async function aCpoToCall(): Promise<TestCpo> {
  const cpo = await service.cpo('Volt');
  await sql(`update cpos set base_url = 'https://volt.example', name = 'Volt ' || id where id = $1`, [cpo.id]);
  return cpo;
}

/** A CPO that has sent as many incorrect codes as it may. */
const incorrectCodes = (setting: string) => async () => {
  const cpo = await service.cpo();
  expect((await scsp('cpo', 'limits', cpo.id, '--set', `${setting}=3`)).code).toBe(0);
  if (setting !== 'LIMIT_CPO_10MIN') await scsp('cpo', 'limits', cpo.id, '--set', 'LIMIT_CPO_10MIN=100');
  for (let i = 0; i < 3; i++) expect((await service.pair(cpo, anIncorrectCode(), aStation())).status).toBe(404);
  return () => scsp('cpo', 'limits', cpo.id, '--reset');
};

async function notification(columns: string, values: string): Promise<() => Promise<unknown>> {
  const { id } = await aCpoToCall();
  await sql(
    `insert into outbox (cpo_id, payload_protocol, uid, next_attempt_at, ${columns})
     values ($1, 'ocpp1.6', 'u', now() + interval '1 hour', ${values})`,
    [id],
  );
  return () => sql('delete from outbox where cpo_id = $1', [id]);
}

const codes = (length: number, count: number) =>
  sql(
    `insert into pairing_codes (id, hash, length, user_id, charging_location_id, expires_at)
     select gen_random_uuid(), sha256(($1 || ' ' || i)::bytea), $1::int, gen_random_uuid(), 'home', now() + interval '10 minutes'
     from generate_series(1, $2) i`,
    [length, count],
  );

const endpoint = (columns: string, values: string, end: string) => async () => {
  const id = randomUUID();
  await sql(
    `insert into webhook_endpoints (id, app_name, url, ${columns}) values ($1, 'test app', 'https://8.8.8.8/', ${values})`,
    [id],
  );
  return () => sql(`update webhook_endpoints set ${end} where id = $1`, [id]);
};

const SITUATIONS: readonly (readonly [string, string, Situation])[] = [
  [
    'service-down',
    'no replica was seen for 30 s',
    {
      async begin() {
        await sql(`update replicas set seen_at = now() - interval '31 seconds'`);
        return () => sql(FRESH);
      },
      text: /^no replica has been seen for 30 s$/,
    },
  ],
  [
    'database-full',
    'PostgreSQL reported a full disk',
    {
      begin: replica({ database_errors: { disk_full: 1 } }),
      text: /full disk within 5 min; the database has [\d.]+ MB/,
    },
  ],
  [
    'database-slow',
    'requests wait for connections',
    { begin: replica({ pool: { used: 10, idle: 0, waiting: 10 } }), text: /host-b$/ },
  ],
  [
    'database-slow',
    'the database timed out',
    { begin: replica({ database_errors: { timeout: 20 } }), text: /host-b$/ },
  ],
  [
    'listener-disconnected',
    'a replica has lost its notifications',
    {
      begin: replica({
        listener: { connected: false, disconnected_since: new Date(Date.now() - 40_000).toISOString() },
      }),
      text: /host-b$/,
    },
  ],
  [
    'clock-wrong',
    "a host's clock is wrong",
    { begin: replica({ clock_offset_seconds: -1.2 }), text: /host-b -1.2 s$/ },
  ],
  ['log-lines-lost', 'log lines were lost', { begin: replica({ log_lines_lost: 3 }), text: /host-b$/ }],
  [
    'cpo-not-answering',
    'a circuit is open',
    {
      async begin() {
        const { id } = await aCpoToCall();
        return openCircuit(id)();
      },
      text: /: Volt/,
    },
  ],
  ['cpo-not-answering', 'a CPO does not answer', { begin: calls('timed-out', null), text: /: Volt/ }],
  ['cpo-failing', 'a CPO answers 5xx', { begin: calls('rejected', 502), text: /: Volt/ }],
  ['cpo-failing', 'a CPO does not accept the token', { begin: calls('rejected', 401), text: /: Volt/ }],
  ['cpo-failing', 'a CPO answers with redirects', { begin: calls('redirected', 302), text: /: Volt/ }],
  ['cpo-failing', 'a circuit is open for 5xx', { begin: calls('rejected', 502, true), text: /: Volt/ }],
  ['cpo-failing', 'a CPO answers what is not valid', { begin: calls('invalid-answer', 200), text: /: Volt/ }],
  ['codes-guessed', 'a CPO is at its limit of 10 minutes', { begin: incorrectCodes('LIMIT_CPO_10MIN'), text: /: CPO/ }],
  ['cpo-at-day-limit', 'a CPO is at its limit of 24 hours', { begin: incorrectCodes('LIMIT_CPO_24H'), text: /: CPO/ }],
  [
    'code-space-short',
    'codes of two lengths are used up',
    {
      async begin() {
        await codes(6, 40);
        expect(await found()).toEqual([]);
        await codes(7, 400);
        return () => sql(`update pairing_codes set status = 'cancelled', ended_at = now() where status = 'active'`);
      },
      text: /6 digits 80 %, 7 digits 80 %$/,
    },
  ],
  [
    'outbox-growing',
    'a notification waits for more than an hour',
    {
      begin: () => notification('created_at', `now() - interval '61 minutes'`),
      text: /^1 notification of CPOs wait, the oldest for 1 h$/,
    },
  ],
  [
    'notifications-dead-lettered',
    'a notification was given up',
    { begin: () => notification('gave_up_at', 'now()'), text: /^1 notification of CPOs dead-lettered$/ },
  ],
  [
    'events-not-published',
    'an event is not published for a minute',
    {
      async begin() {
        await sql(
          `insert into events (id, type, occurred_at) values (gen_random_uuid(), 'cpo.notified', now() - interval '61 seconds')`,
        );
        return () => publishEvents({ ...service, log: service.log.log, stopping: new AbortController().signal });
      },
      text: /^1 event not published, the oldest for 1 min$/,
    },
  ],
  [
    'webhook-receiver-gone',
    'a receiver fails for more than an hour',
    {
      begin: endpoint(
        'failures, failing_since',
        `5, now() - interval '61 minutes'`,
        'failures = 0, failing_since = null',
      ),
      text: /test app/,
    },
  ],
  ...['failing', 'gone'].map(
    (reason) =>
      [
        'webhook-receiver-gone',
        `a receiver was disabled as ${reason}`,
        {
          begin: endpoint('status, disabled_reason', `'disabled', '${reason}'`, `disabled_reason = 'operator'`),
          text: /test app/,
        },
      ] as const,
  ),
  [
    'tokens-expiring',
    'a token expires within 7 days',
    {
      async begin() {
        const { id } = await issueToken(service.operator, { role: 'app', appName: 'the app' });
        await sql(`update tokens set expires_at = now() + interval '6 days' where id = $1`, [id]);
        return () => rotateToken(service.operator, id, 24);
      },
      text: /: app the app$/,
    },
  ],
  [
    'erasure-behind',
    'a forgotten user is not erased within an hour',
    {
      async begin() {
        await sql(
          `insert into erasures (pairing_id, station_uid, requested_at) values (gen_random_uuid(), 'u', now() - interval '61 minutes')`,
        );
        return () => sql('delete from erasures');
      },
      text: /^1 pairing of forgotten users not erased, the oldest for 1 h$/,
    },
  ],
  [
    'retention-behind',
    '10,000 rows of a table are due',
    {
      async begin() {
        await sql(
          `insert into redemption_attempts (id, user_hash, began_at)
           select gen_random_uuid(), '', now() - interval '2 days' from generate_series(1, 10000)`,
        );
        return () => sql('delete from redemption_attempts');
      },
      text: /^10000 rows or more that should be deleted: redemption_attempts$/,
    },
  ],
];

test.each(SITUATIONS)('%s: %s, and does not any more', async (name, _title, { begin, text }) => {
  expect(await found()).toEqual([]);
  const end = await begin();
  expect(await found()).toEqual([
    { name, text: expect.stringMatching(text), runbook: `docs/runbooks/${name}.md`, severity: expect.any(String) },
  ]);
  const { code, stdout, stderr } = await scsp('status');
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(stdout).toContain(`docs/runbooks/${name}.md`);
  await end();
  expect(await found()).toEqual([]);
  expect((await scsp('status')).code).toBe(0);
});

test('each finding is shown above, but the one that needs a standby', () => {
  const shown = new Set(SITUATIONS.map(([name]) => name));
  expect(FINDING_NAMES.filter((name) => !shown.has(name))).toEqual(['standby-gone']);
});

test('a self-service CPO of a sandbox needs nobody, nor does a replica that was killed', async () => {
  const { id } = await aCpoToCall();
  await sql('update cpos set sandbox = true where id = $1', [id]);
  const end = await replica(
    { circuits: [{ cpo_id: id, open_since: new Date().toISOString() }], log_lines_lost: 1 },
    `now() - interval '31 seconds'`,
  )();
  await sql(
    `insert into outbox (cpo_id, payload_protocol, uid, created_at, gave_up_at)
     select $1, 'ocpp1.6', 'u', now() - interval '2 hours', gave_up_at from unnest(array[null, now()]) gave_up_at`,
    [id],
  );
  expect(await found()).toEqual([]);
  await sql('delete from outbox where cpo_id = $1', [id]);
  await end();
});
