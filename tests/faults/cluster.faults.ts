import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';
import { readConfig } from '../../src/config';
import { startService } from '../../src/service';
import { NO_LIMITS, recordedLog } from '../harness/harness';
import { untilAnswered } from '../harness/until';
import { type Cluster, startCluster } from './a-cluster';
import type { Server } from './a-postgres-server';
import { callers, isTooLate, isUnderWay, startCrowd, untilDecided, warmUp } from './callers';
import { DAMAGE, UNHARMED } from './damage';
import { SHORT, secondsUntil, timed } from './fault';

const REPLICAS = 3;
/** Seconds; what is promised whatever the database does. */
const ANSWERED_WITHIN = 5;

type Replica = Awaited<ReturnType<Cluster['replica']>>;

let cluster: Cluster;
let primary: Server;
let standby: Server;
let replicas: Replica[];
let cpo: { id: string; token: string };
let as: ReturnType<typeof callers>;
const start = (index: number) => cluster.replica(index, NO_LIMITS);

beforeAll(async () => {
  cluster = await startCluster(REPLICAS);
  [primary, standby] = cluster.servers;
  replicas = await Promise.all(Array.from({ length: REPLICAS }, (_, index) => start(index)));
  cpo = await addCpo();
  const { token } = await cluster.scsp(['token', 'issue', '--app', 'the app']);
  as = callers({ app: token, cpo: cpo.token });
  await Promise.all(replicas.map((replica) => warmUp(as, replica.at)));
});
afterAll(async () => {
  for (const { child } of replicas ?? []) child.kill('SIGTERM');
  await Promise.all((replicas ?? []).map(({ exited }) => exited));
  await cluster?.stop();
});

async function addCpo(...options: string[]) {
  const { id } = await cluster.scsp(['cpo', 'add', `CPO ${randomUUID()}`, ...options], { SANDBOX: 'true' });
  const { token } = await cluster.scsp(['token', 'issue', '--cpo', id]);
  return { id, token };
}

const at = (index: number) => replicas[index]!.at;
const stored = async () => {
  const rows = await primary.query('select uid, code_id from stations join pairings on id = pairing_id', 'scsp');
  return new Map(rows.map((row) => [row.uid, row.code_id]));
};

describe('on PgBouncer in transaction mode, with three replicas behind HAProxy', () => {
  test('a code is issued by one, watched at another and used at the third', async () => {
    const { body: issued } = await as.issue(at(0));
    const watching = as.follow(at(1), issued.id, 30);
    // The watcher has looked once, and waits for a notification.
    expect((await as.follow(at(1), issued.id)).body.status).toBe('active');
    const { seconds, result } = await timed(async () => {
      expect((await as.pair(at(2), issued.code, randomUUID())).status).toBe(200);
      return watching;
    });
    expect(result.body.status).toBe('used');
    expect(seconds).toBeLessThan(5);
  });

  test('of 60 simultaneous requests with one code, on all replicas, exactly one pairs', async () => {
    const { code } = (await as.issue(cluster.url)).body;
    const uids = Array.from({ length: 60 }, () => randomUUID());
    const answers = await Promise.all(
      uids.map((uid, i) => untilDecided((key) => as.pair(at(i % REPLICAS), code, uid, key))),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 404]));
  });

  test('of 60 simultaneous requests for one station, on all replicas, exactly one pairs', async () => {
    const codes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => untilAnswered(() => as.issue(at(i % REPLICAS)))),
    );
    const uid = randomUUID();
    const answers = await Promise.all(
      codes.map(({ body }, i) => untilDecided((key) => as.pair(at(i % REPLICAS), body.code, uid, key))),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 409]));
  });

  test('a retry under its Idempotency-Key gets the first answer from every replica', async () => {
    const { code } = (await as.issue(at(0))).body;
    const [uid, key] = [randomUUID(), randomUUID()];
    const first = await as.pair(at(0), code, uid, key);
    for (const index of [1, 2, 0]) {
      const again = await as.pair(at(index), code, uid, key);
      expect([again.status, again.body]).toEqual([200, first.body]);
      expect(again.headers.get('Idempotent-Replayed')).toBe('true');
    }
  });

  test('a revoked token is refused by all replicas within a second', async () => {
    const { id, token } = await cluster.scsp(['token', 'issue', '--cpo', cpo.id]);
    const me = () => Promise.all(replicas.map((replica) => as.me(replica.at, token)));
    expect((await me()).map(({ status }) => status)).toEqual([200, 200, 200]);
    await cluster.scsp(['token', 'revoke', id]);
    expect(await secondsUntil(async () => (await me()).every(({ status }) => status === 401))).toBeLessThan(1);
  });

  test('a CPO is notified of an unpair once', async () => {
    const notified: string[] = [];
    const backend = createServer((req, res) => {
      notified.push(`${req.url}`);
      res.writeHead(200, { 'Content-Type': 'application/json' }).end('{"message":"ok"}');
    }).listen(0, '127.0.0.1');
    await once(backend, 'listening');
    const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
    try {
      const callable = await addCpo('--base-url', url);
      const uid = randomUUID();
      await as.pair(at(0), (await as.issue(at(1))).body.code, uid, undefined, callable.token);
      expect((await as.unpair(at(2), uid)).status).toBe(200);
      await secondsUntil(async () => (await primary.query('select from outbox', 'scsp')).length === 0);
      expect(notified).toEqual([expect.stringContaining(uid)]);
    } finally {
      backend.close();
    }
  });

  test('a lock that somebody holds costs a request less than 5 s, and no statement waits longer than its caller', async () => {
    const { code } = (await as.issue(at(0))).body;
    const holder = new Client(primary.url('postgres', 'scsp'));
    await holder.connect();
    try {
      await holder.query('begin');
      await holder.query('select from cpo_tries where cpo_id = $1 for update', [cpo.id]);
      const { seconds, result } = await timed(() => as.pair(at(0), code, randomUUID()));
      expect([result.status, result.headers.get('Retry-After')]).toEqual([503, '1']);
      expect(seconds).toBeLessThan(ANSWERED_WITHIN);
      const WAITING = `select from pg_stat_activity where wait_event_type = 'Lock'`;
      // The lock is still held.
      expect(await secondsUntil(async () => (await primary.query(WAITING)).length === 0)).toBeLessThan(1);
    } finally {
      await holder.end();
    }
  });

  test('each replica is restarted under load, and no request fails', async () => {
    const crowd = startCrowd(as, cluster.url);
    for (let index = 0; index < REPLICAS; index++) {
      replicas[index]!.child.kill('SIGTERM');
      expect(await replicas[index]!.exited).toBe(0);
      replicas[index] = await start(index);
      await replicas[index]!.said(/"operation":"pairOcpp".*"status":200/);
    }
    const { answers, slowest } = await crowd.stop();
    const refused = answers.filter((answer) => answer.status !== 200 && answer.status !== 201 && !isUnderWay(answer));
    console.log(`restarts: ${answers.length} requests, ${refused.length} refused, the slowest ${slowest.toFixed(2)} s`);
    expect(refused.filter((answer) => !isTooLate(answer))).toEqual([]);
  });
});

describe('a pooler that the service does not know of', () => {
  const startOn = (DATABASE_URL: string) =>
    startService(readConfig({ ...cluster.settings, DATABASE_URL, DATABASE_DIRECT_URL: '', PORT: '0' }), {
      log: recordedLog().log,
    });

  test('is noticed when it refuses time-outs', () =>
    expect(startOn(cluster.settings.DATABASE_URL)).rejects.toThrow(
      'DATABASE_URL points to a connection pooler: set DATABASE_DIRECT_URL (unsupported startup parameter: statement_timeout)',
    ));

  test.each([
    [
      'time-outs',
      `connect_query='set statement_timeout = 0'`,
      /run alter role "scsp_service" set statement_timeout = 2000; and/,
    ],
    ['notifications', '', /^notifications do not arrive: DATABASE_DIRECT_URL must point to/],
  ])('is noticed when it drops %s', async (_what, setting, reason) => {
    const dropping = await cluster.pooler([
      [
        'ignore_startup_parameters =',
        'ignore_startup_parameters = options, statement_timeout, lock_timeout, idle_in_transaction_session_timeout',
      ],
      ['dbname=scsp', `dbname=scsp ${setting}`],
    ]);
    await expect(startOn(dropping.url).finally(dropping.stop)).rejects.toThrow(reason);
  });
});

describe('the standby gone', () => {
  test('nothing is acknowledged that it would not have, not even when the wait for it is canceled', async () => {
    const codes = await Promise.all(Array.from({ length: 2 }, () => as.issue(cluster.url)));
    const [first, second] = codes.map(({ body }) => body.code);
    const [uid, key, other] = [randomUUID(), randomUUID(), await addCpo()];
    await standby.end('SIGKILL');

    const canceled = as.pair(cluster.url, first, uid, undefined, other.token);
    const CANCEL = `select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'`;
    await secondsUntil(async () => (await primary.query(CANCEL)).length > 0);
    expect((await canceled).status).toBe(503);

    const { seconds, result } = await timed(() => as.pair(cluster.url, second, randomUUID(), key));
    expect([result.status, result.headers.get('Retry-After')]).toEqual([503, '1']);
    expect(seconds).toBeLessThan(ANSWERED_WITHIN);

    await standby.start();
    // What was canceled was committed, and the answer says that it was there before.
    await secondsUntil(async () => (await as.pair(cluster.url, first, uid, undefined, other.token)).status === 409);
    expect([...(await stored()).keys()]).toContain(uid);
  });
});

describe('the primary killed under load', () => {
  test.each(Array.from({ length: SHORT ? 1 : 3 }, (_, round) => [round + 1]))(
    'fail-over %i loses nothing that was acknowledged',
    async (round) => {
      const crowd = startCrowd(as, cluster.url);
      await secondsUntil(async () => crowd.acknowledged.length > 50);
      await primary.end('SIGKILL');
      const killed = performance.now();
      const promotion = await timed(() => standby.promote());
      [primary, standby] = [standby, primary];
      await secondsUntil(async () => crowd.acknowledged.at(-1)!.when > killed + 1_000 * promotion.seconds);
      const first = crowd.acknowledged.find(({ when }) => when > killed + 1_000 * promotion.seconds)!;
      await secondsUntil(async () => crowd.acknowledged.length > 100);
      const { answers, slowest } = await crowd.stop();

      const refused = answers.filter(({ status }) => status > 201);
      console.log(
        `fail-over ${round}: ${crowd.acknowledged.length} paired, ${refused.length} of ${answers.length} requests refused;`,
        `promoted ${promotion.seconds.toFixed(2)} s after the end of the primary, first pairing after ${((first.when - killed) / 1_000).toFixed(2)} s;`,
        `the slowest answer after ${slowest.toFixed(2)} s`,
      );
      const codes = await stored();
      expect(crowd.acknowledged.filter(({ uid, codeId }) => codes.get(uid) !== codeId)).toEqual([]);
      expect((await primary.query(DAMAGE, 'scsp'))[0]).toEqual(UNHARMED);
      for (const { headers } of refused) expect(headers.get('Retry-After')).toMatch(/^\d+$/);
      expect(slowest).toBeLessThan(ANSWERED_WITHIN);
      if (!SHORT) await standby.follow(primary);
    },
  );
});
