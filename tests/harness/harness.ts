import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Client, Pool, type PoolClient } from 'pg';
import { readConfig } from '../../src/config';
import { readContract } from '../../src/contract/document';
import { addCpo } from '../../src/cpos/cpos';
import { random } from '../../src/crypto/random';
import { createDataSource } from '../../src/db/pool';
import { schema } from '../../src/db/schema';
import { withSession } from '../../src/db/session';
import { createLog, type Log, type LogFields } from '../../src/log';
import { type Overrides, type Service, startService } from '../../src/service';
import { issueToken } from '../../src/tokens/tokens';
import stationFixture from '../fixtures/ocpp/station.json';
import { endLater, once } from './clean-up';
import { declaredProblems, undeclared } from './declared-problems';
import { leaks } from './leaks';
import { until } from './until';

export const SECRET_KEY = 'a secret key that only the tests know, 32+ characters';

/** For tests that are not about counting incorrect codes, or codes issued. */
export const NO_LIMITS = {
  LIMIT_CPO_UID_10MIN: '100000',
  LIMIT_CPO_UID_24H: '100000',
  LIMIT_CPO_10MIN: '100000',
  LIMIT_CPO_24H: '100000',
  LIMIT_USER_CODES_10MIN: '100000',
};

/** A code that nobody was ever shown, longer than any that is issued here; each is another, because a repeated one counts once. */
export const anIncorrectCode = () => random.digits(20);

export type Answer = { status: number; headers: Headers; body: any };
export type LogLine = { level: string; message: string; [field: string]: unknown };
export type TestCpo = { id: string; name: string; token: string };

/** A busy machine takes its time: what a test itself asks of its database is not what it tests. */
const PATIENCE_MS = 30_000;
const PATIENT = { connectionTimeoutMillis: PATIENCE_MS, query_timeout: PATIENCE_MS, statement_timeout: PATIENCE_MS };

/**
 * A database of its own, copied from the migrated template.
 * @param template another template, with options of `create database`
 */
export async function createTestDatabase(
  template = process.env.SCSP_TEST_TEMPLATE,
): Promise<{ url: string; drop(): Promise<void> }> {
  const admin = process.env.SCSP_TEST_ADMIN_URL ?? '';
  const name = `scsp_test_${randomUUID().replaceAll('-', '')}`;
  const run = async (sql: string) => {
    const client = new Client({ connectionString: admin, ...PATIENT });
    await client.connect();
    await client.query(sql).finally(() => client.end());
  };
  await run(`create database ${name} template ${template}`);
  const url = new URL(admin);
  url.pathname = name;
  const drop = once(() => run(`drop database if exists ${name} with (force)`));
  endLater(drop);
  return { url: url.href, drop };
}

const declared = declaredProblems(readContract().document);

/** What the contract does not declare of an answer, by the fields that are logged about its request. */
function breach(fields: LogFields): string | undefined {
  const { request_id, operation, status, problem } = fields;
  const found = undeclared(declared, {
    operation: String(operation),
    status: Number(status),
    problem: problem === undefined ? undefined : String(problem),
  });
  return found && `request ${request_id}: ${found}`;
}

/** Complaints since the end of the last test. */
const complaints: string[] = [];
const failForComplaints = () => {
  const found = complaints.splice(0);
  if (found.length > 0) throw new Error(found.join('\n\n'));
};
let provoked = false;
afterEach(() => {
  provoked = false;
  failForComplaints();
});

/**
 * A log whose lines a test can read and wait for. A test fails for an answer that the contract does not declare, and for
 * a defect of the service that it does not provoke.
 */
export function recordedLog() {
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  const stream = new Writable({
    write(chunk, _encoding, done) {
      for (const text of String(chunk).split('\n').filter(Boolean)) {
        const line: LogLine = JSON.parse(text);
        lines.push(line);
      }
      for (const check of waiting) check();
      done();
    },
  });
  /** Until the end of the test. */
  const provokeInternalErrors = () => {
    provoked = true;
  };
  const waitFor = (wanted: (line: LogLine) => boolean) =>
    new Promise<LogLine>((resolve) => {
      const check = () => {
        const found = lines.find(wanted);
        if (found === undefined) return;
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  const log = createLog('debug', stream);
  /** The stacks of defects, by the id of their request: known here before the answer is sent. */
  const defects = new Map<unknown, string>();
  const watch = (message: string, fields: LogFields = {}) => {
    if (message === 'internal error') {
      defects.set(fields.request_id, String(fields.stack));
      if (!provoked) complaints.push(`request ${fields.request_id} was answered 500: ${fields.stack}`);
    }
    const wrong = message === 'request' ? breach(fields) : undefined;
    if (wrong !== undefined) complaints.push(wrong);
  };
  const watched = (level: 'error' | 'warn' | 'info' | 'debug') => (message: string, fields?: LogFields) => {
    watch(message, fields);
    log[level](message, fields);
  };
  return {
    lines,
    defects,
    waitFor,
    provokeInternalErrors,
    log: {
      ...log,
      error: watched('error'),
      warn: watched('warn'),
      info: watched('info'),
      debug: watched('debug'),
    } satisfies Log,
  };
}

export type Harness = Awaited<ReturnType<typeof startHarness>>;

/** The whole service over HTTP on a database of its own, with what a test needs around it. */
export async function startHarness(
  settings: Record<string, string> = {},
  overrides: Overrides & { databaseUrl?: string } = {},
) {
  const database = overrides.databaseUrl === undefined ? await createTestDatabase() : undefined;
  const databaseUrl = database?.url ?? overrides.databaseUrl ?? '';
  const dataDir = mkdtempSync(join(tmpdir(), 'scsp-data-'));
  const recorded = recordedLog();
  const config = readConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    DATABASE_URL: databaseUrl,
    DATA_DIR: dataDir,
    SECRET_KEY,
    ...settings,
  });
  const secrets = new Set([SECRET_KEY]);
  // A test that takes long must not find that its rows have been removed meanwhile.
  const retention = { firstMs: 3_600_000 };
  const service = await startPatiently(() => startService(config, { log: recorded.log, retention, ...overrides }));
  const db = createDataSource(withSession(databaseUrl), schema, { max: 2, ...PATIENT });
  const sql = new Pool({ connectionString: databaseUrl, max: 5, ...PATIENT });
  const acquired = new Set<PoolClient>();
  sql.on('acquire', (client) => acquired.add(client)).on('release', (_error, client) => acquired.delete(client));
  const stop = once(async () => {
    // A test that failed may have kept one, with the locks that it holds; the pool would wait for it for ever.
    // A query under way releases its client again when it ends, which pg takes for a mistake of the pool's user.
    for (const client of acquired) {
      client.release(true);
      client.release = () => undefined;
    }
    // `sql.end()` does not wait for its connections to close, so dropping the database may terminate one.
    sql.on('error', () => undefined);
    // What fails to stop must not keep the others open, nor jest running.
    const stopped = await Promise.allSettled([service.stop(), sql.end(), db.isInitialized && db.destroy()]);
    await database?.drop();
    rmSync(dataDir, { recursive: true, force: true });
    for (const part of stopped) if (part.status === 'rejected') throw part.reason;
    const leaked = leaks(recorded.lines.map((line) => JSON.stringify(line)).join('\n'), secrets);
    if (leaked.length > 0) throw new Error(`the log contains secrets: ${leaked.join(', ')}`);
    failForComplaints();
  });
  endLater(stop);
  await db.initialize();
  const operator = { db, random, actor: 'a test' };
  const appToken = (await issueToken(operator, { role: 'app', appName: 'test app' })).token;
  secrets.add(appToken);
  const ingestToken = (await issueToken(operator, { role: 'ingest', appName: 'test pipeline' })).token;
  secrets.add(ingestToken);

  const request = async (
    method: string,
    path: string,
    options: {
      token?: string | undefined;
      body?: unknown;
      headers?: Record<string, string>;
      raw?: string | Uint8Array<ArrayBuffer>;
    } = {},
  ): Promise<Answer> => {
    const headers = new Headers(options.headers);
    if (options.token !== undefined) headers.set('Authorization', `Bearer ${options.token}`);
    const body = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    if (body !== undefined && !headers.has('Content-Type')) headers.set('Content-Type', 'application/json');
    const response = await fetch(service.url + path, {
      method,
      headers,
      redirect: 'manual',
      ...(body !== undefined && { body }),
    });
    const text = await response.text();
    const json = /json/.test(response.headers.get('Content-Type') ?? '') && text !== '';
    const answer = { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
    if (answer.status === 201 && /^\d{6,}$/.test(answer.body.code)) secrets.add(answer.body.code);
    const defect = recorded.defects.get(answer.headers.get('X-Request-ID'));
    if (answer.status === 500 && !provoked) throw new Error(`${method} ${path} was answered 500: ${defect ?? text}`);
    return answer;
  };

  return {
    url: service.url,
    databaseUrl,
    service,
    config,
    db,
    /** Plain SQL, for what no answer shows. */
    sql,
    log: recorded,
    appToken,
    ingestToken,
    /** What must not be in the log when the service stops: tokens, and codes that were issued. */
    secrets,
    /** For verbs of an operator's. */
    operator,
    request,

    async cpo(name = `CPO ${randomUUID()}`): Promise<TestCpo> {
      const { id } = await addCpo(operator, name);
      const { token } = await issueToken(operator, { role: 'cpo', cpoId: id });
      secrets.add(token);
      return { id, name, token };
    },

    /** Issues a code for a user and location of its own unless told whose. */
    async code(body: { user_id?: string; charging_location_id?: string; cpo_id?: string } = {}): Promise<any> {
      const issue = () =>
        request('POST', '/v1/app/pairing-codes', {
          token: appToken,
          body: { user_id: randomUUID(), charging_location_id: 'home', ...body },
        });
      const answer = await until(({ status }) => status !== 503, issue, PATIENCE_MS);
      if (answer.status !== 201) throw new Error(`no code: ${JSON.stringify(answer.body)}`);
      return answer.body;
    },

    /** Locks the counter of a CPO as another replica would; returns how to give it free. */
    async lockCounter(cpo: { id: string }): Promise<() => Promise<void>> {
      const client = await sql.connect();
      await client.query('begin');
      await client.query('select from cpo_tries where cpo_id = $1 for update', [cpo.id]);
      return async () => {
        await client.query('commit');
        client.release();
      };
    },

    followCode: (id: string, wait = 0) =>
      request('GET', `/v1/app/pairing-codes/${id}?wait=${wait}`, { token: appToken }),

    pair: (cpo: TestCpo, code: string, station: unknown = aStation(), protocol = 'ocpp2.0.1') =>
      request('POST', `/v1/scsp/${protocol}/pair`, { token: cpo.token, body: { code, charging_station: station } }),

    /** Redeems a code of a CPO's for a user of its own unless told whose. */
    redeem: (cpo: { id: string }, code: string, body: object = {}) =>
      request('POST', '/v1/app/pairings', {
        token: appToken,
        body: {
          user_id: randomUUID(),
          charging_location_id: 'home',
          cpo_id: cpo.id,
          payload_protocol: 'ocpp2.0.1',
          code,
          ...body,
        },
      }),

    unpairAsApp: (uid: string) =>
      request('POST', `/v1/app/charging-stations/${encodeURIComponent(uid)}/unpair`, { token: appToken }),

    unpairAsCpo: (cpo: TestCpo, uid: string, segment = 'chargingstations') =>
      request('POST', `/v1/scsp/${segment}/${encodeURIComponent(uid)}/unpair`, { token: cpo.token }),

    stopDelivery: () => service.stopDelivery(),

    stop,
  };
}

/** The service does not start on a database that lets it wait; on a busy machine any may. */
async function startPatiently(start: () => Promise<Service>): Promise<Service> {
  for (const deadline = performance.now() + PATIENCE_MS; ; ) {
    try {
      return await start();
    } catch (error) {
      if (!isTimeout(error) || performance.now() > deadline) throw error;
    }
  }
}

/** How pg and PostgreSQL say that something took too long; a Problem has it as its cause. */
function isTimeout(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    /timeout expired|read timeout|timeout exceeded|due to ([a-z]+ )?timeout|no answer within/i.test(error.message) ||
    isTimeout(error.cause)
  );
}

/** The seed document's station under a uid of its own. */
export function aStation(uid = `station-${randomUUID()}`) {
  return { ...structuredClone(stationFixture), uid };
}
