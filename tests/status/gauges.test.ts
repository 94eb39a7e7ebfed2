import { SharedReading } from '../../src/status/shared-reading';
import type { StoredState } from '../../src/status/stored-state';
import { type Harness, startHarness } from '../harness/harness';
import { untilSo } from '../harness/until';

/** By name: the label, and its values in a new deployment. */
const GAUGES: Readonly<Record<string, readonly string[]>> = {
  scsp_codes_active: ['{length="6"}'],
  scsp_code_space_used_ratio: ['{length="6"}'],
  scsp_cpos_at_limit: ['{window="10min"}', '{window="24h"}'],
  scsp_cpos_suspended: [''],
  scsp_outbox_notifications: ['{state="waiting"}', '{state="dead_lettered"}'],
  scsp_outbox_oldest_age_seconds: [''],
  scsp_events_unpublished: [''],
  scsp_events_lag_seconds: [''],
  scsp_webhook_deliveries_waiting: [''],
  scsp_webhook_oldest_age_seconds: [''],
  scsp_webhook_endpoints: ['{state="enabled"}', '{state="failing"}', '{state="disabled"}'],
  scsp_tokens_expiring: ['{within="7d"}', '{within="30d"}'],
  scsp_erasures_pending: [''],
  scsp_database_size_bytes: [''],
  scsp_database_is_primary: [''],
  scsp_database_standbys: [''],
  scsp_database_replication_lag_seconds: [],
  scsp_replicas: [expect.stringMatching(/^{version="[\d.]+"}$/)],
  scsp_clock_offset_seconds: [''],
  scsp_stored_state_read_timestamp_seconds: [''],
};

let service: Harness;
afterEach(() => service.stop());

async function scrape(): Promise<string[]> {
  const response = await fetch(`${service.service.metricsUrl}/metrics`);
  expect(response.status).toBe(200);
  return (await response.text()).split('\n');
}
/** The values of a gauge, by its labels. */
const valuesOf = (lines: readonly string[], name: string) =>
  Object.fromEntries(
    lines
      .map((line) => /^(\w+)({.*})? (\S+)$/.exec(line))
      .filter((found) => found?.[1] === name)
      .map((found) => [found?.[2] ?? '', Number(found?.[3])]),
  );

test('a scrape shows the stored state, under these names and labels', async () => {
  service = await startHarness({ METRICS_PORT: '0' }, { status: { reading: { everyMs: 0, waitMs: 30_000 } } });
  await untilSo(async () => (await service.sql.query('select from replicas')).rowCount === 1);
  const { code } = await service.code();
  const cpo = await service.cpo();
  const lines = await scrape();
  const shown = Object.fromEntries(Object.keys(GAUGES).map((name) => [name, Object.keys(valuesOf(lines, name))]));
  expect(shown).toEqual(GAUGES);
  for (const name of Object.keys(GAUGES)) expect(lines).toContain(`# TYPE ${name} gauge`);
  expect(valuesOf(lines, 'scsp_codes_active')).toEqual({ '{length="6"}': 1 });
  expect(valuesOf(lines, 'scsp_code_space_used_ratio')).toEqual({ '{length="6"}': 1 / 50 });

  expect((await service.pair(cpo, code)).status).toBe(200);
  await service.sql.query('update cpos set suspended_at = now()');
  const later = await scrape();
  expect(valuesOf(later, 'scsp_codes_active')).toEqual({ '{length="6"}': 0 });
  expect(valuesOf(later, 'scsp_cpos_suspended')).toEqual({ '': 1 });
});

test('the other gauges are shown while the backlog of retention cannot be read', async () => {
  service = await startHarness({ METRICS_PORT: '0' }, { status: { reading: { everyMs: 0, waitMs: 30_000 } } });
  const locker = await service.sql.connect();
  await locker.query('begin; lock table webhook_gaps in access exclusive mode');
  const lines = await scrape();
  expect(valuesOf(lines, 'scsp_cpos_suspended')).toEqual({ '': 0 });
  expect(valuesOf(lines, 'scsp_retention_backlog_rows')).toEqual({});
  await locker.query('commit');
  locker.release();
});

test.each([
  ['shows the last values', 3_600_000],
  ['shows no values, and not zeros', 0],
])('a scrape is answered while the database is not, and %s when they are older than %d ms', async (_what, keepMs) => {
  service = await startHarness({ METRICS_PORT: '0' }, { status: { reading: { everyMs: 0, waitMs: 50, keepMs } } });
  await untilSo(async () => valuesOf(await scrape(), 'scsp_stored_state_read_timestamp_seconds')[''] !== undefined);
  const locker = await service.sql.connect();
  await locker.query('begin; lock table erasures in access exclusive mode');
  const values = (lines: string[]) => Object.keys(GAUGES).map((name) => Object.keys(valuesOf(lines, name)).length);
  await scrape();
  const lines = await scrape();
  const kept = ['scsp_clock_offset_seconds', 'scsp_stored_state_read_timestamp_seconds'];
  if (keepMs === 0) expect(Object.keys(GAUGES).filter((_, at) => values(lines)[at])).toEqual(kept);
  else expect(valuesOf(lines, 'scsp_erasures_pending')).toEqual({ '': 0 });
  await locker.query('commit');
  locker.release();
});

describe('scrapes', () => {
  const state = { readAt: new Date(0) } as StoredState;
  let now = 0;
  let readings: ((state?: StoredState) => void)[];
  const read = () =>
    new Promise<StoredState>((resolve, reject) => {
      readings.push((state) => (state ? resolve(state) : reject(new Error('the database is away'))));
    });
  beforeEach(() => {
    now = 0;
    readings = [];
    service = { stop: async () => {} } as Harness;
  });

  test('share a reading, and the next one is ten seconds later', async () => {
    const reading = new SharedReading(read, {}, () => now);
    const scrapes = [reading.latest(), reading.latest()];
    readings[0]?.(state);
    expect(await Promise.all(scrapes)).toEqual([state, state]);
    now = 9_999;
    expect([await reading.latest(), readings.length]).toEqual([state, 1]);
    now = 10_000;
    const next = reading.latest();
    readings[1]?.();
    expect(await next).toBe(state);
    now = 60_001;
    const last = reading.latest();
    readings[2]?.();
    expect([await last, reading.lastReadAt]).toEqual([undefined, state.readAt]);
  });

  test('do not begin a second reading while one hangs', async () => {
    const reading = new SharedReading(read, { waitMs: 1 }, () => now);
    expect(await reading.latest()).toBeUndefined();
    now = 3_600_000;
    expect(await reading.latest()).toBeUndefined();
    expect(readings).toHaveLength(1);
  });
});
