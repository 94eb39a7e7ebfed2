import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { projectFile } from '../../src/contract/document';
import { type Cluster, startCluster } from '../faults/a-cluster';
import { callers, startCrowd } from '../faults/callers';
import { DAMAGE, UNHARMED } from '../faults/damage';
import { secondsUntil } from '../faults/fault';
import { endLater } from '../harness/clean-up';
import { aStation, NO_LIMITS } from '../harness/harness';
import { checkOutAndBuild } from './a-release';
import { CUSTOMERS, startLoad } from './load';
import releases from './releases.json';

const REPLICAS = 3;
const NEW = projectFile('dist');
/** In ms: half of what `.ci/run` allows. A release whose packages differ is installed. */
const SETUP_MS = 900_000;

/** A CPO whose every code belongs to a station of its own, and that keeps what it is notified of. */
async function startIssuingCpo() {
  const unpaired = new Set<string>();
  const server = createServer(async (req, res) => {
    await once(req.resume(), 'end');
    const [, uid] = /\/([^/]+)\/unpair$/.exec(req.url ?? '') ?? [];
    if (uid !== undefined) unpaired.add(uid);
    const answer = uid === undefined ? { charging_station: aStation(randomUUID()) } : { message: 'ok' };
    res.setHeader('Content-Type', 'application/json').end(JSON.stringify(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  endLater(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, unpaired };
}

describe.each(releases)('from $version to this version and back, under load', (release) => {
  let old: string;
  let cluster: Cluster;
  let replicas: Awaited<ReturnType<Cluster['replica']>>[];
  let started: typeof replicas;
  let backend: Awaited<ReturnType<typeof startIssuingCpo>>;
  let appToken: string;
  let cpoId: string;
  let as: ReturnType<typeof callers>;
  let load: ReturnType<typeof startLoad>;
  let migratedAt: number;

  beforeAll(async () => {
    const folder = await checkOutAndBuild(release);
    endLater(() => rmSync(folder, { recursive: true, force: true }));
    old = join(folder, 'dist');
    cluster = await startCluster(REPLICAS, old);
    endLater(() => cluster.stop());
    backend = await startIssuingCpo();
    const cpo = await cluster.scsp(
      ['cpo', 'add', 'the CPO', '--base-url', backend.url, '--outbound-token-stdin'],
      {},
      'the-token-that-we-send',
    );
    const cpoToken = (await cluster.scsp(['token', 'issue', '--cpo', cpo.id])).token;
    appToken = (await cluster.scsp(['token', 'issue', '--app', 'the app'])).token;
    replicas = [];
    for (let index = 0; index < REPLICAS; index++) replicas.push(await cluster.replica(index, NO_LIMITS, old));
    started = [...replicas];
    as = callers({ app: appToken, cpo: cpoToken });
    cpoId = cpo.id;
    await Promise.all(replicas.map(({ at }) => warmUp(at)));
    load = startLoad(as, cluster.url, cpoId);
    endLater(() => load.stop());
    await morePairings();
    expectNoFailures();
  }, SETUP_MS);

  /**
   * Sends a new replica each request of the load until it succeeds. Outside production a replica compiles its validators with its
   * first requests, which on a busy machine blocks it for seconds. In production, where no CPO on this machine is called, it does so
   * before it is ready.
   */
  async function warmUp(at: string) {
    const crowd = startCrowd(as, at);
    const key = randomUUID();
    await secondsUntil(async () => {
      const { status, body } = await as.redeem(at, cpoId, key);
      return status === 201 && (await as.unpair(at, body.uid)).status < 500;
    }, 60);
    await secondsUntil(async () => crowd.acknowledged.length >= CUSTOMERS, 60);
    await crowd.stop();
  }

  /** Fails with the requests that failed and what the replicas logged of them. */
  function expectNoFailures() {
    const logged = started.flatMap((replica) => replica.output().stdout.split('\n'));
    const failures = load.failures.map((failure) => {
      const [, id = failure] = /"request_id":"([^"]+)"/.exec(failure) ?? [];
      return [failure, ...logged.filter((line) => line.includes(id))];
    });
    expect(failures).toEqual([]);
  }

  /** Waits until stations have been paired from beginning to end. */
  async function morePairings() {
    const now = performance.now();
    await secondsUntil(async () => load.paired.filter(({ began }) => began > now).length > 30, 60);
  }

  async function replaceAllBy(build: string) {
    for (let index = 0; index < REPLICAS; index++) {
      await cluster.takeOut(index);
      replicas[index]!.child.kill('SIGTERM');
      expect(await replicas[index]!.exited).toBe(0);
      const replica = await cluster.replica(index, NO_LIMITS, build);
      replicas[index] = replica;
      started.push(replica);
      await warmUp(replica.at);
      const pairings = () => replica.output().stdout.split('"operation":"pairOcpp"').length;
      const before = pairings();
      await cluster.putBack(index);
      await secondsUntil(async () => pairings() > before);
    }
    await morePairings();
    expectNoFailures();
  }

  test('no request fails while the migrations run, and afterwards on the new schema', async () => {
    const { migrated } = await cluster.migrate(NEW);
    migratedAt = performance.now();
    expect(migrated).toBeGreaterThan(0);
    await morePairings();
    expectNoFailures();
  });

  test('no request fails while the replicas are replaced', () => replaceAllBy(NEW));

  test('no request fails while the old replicas come back to the new schema', () => replaceAllBy(old));

  test('no request fails while they are replaced again', () => replaceAllBy(NEW));

  test('every pairing is whole, and the CPO is notified of each that was ended', async () => {
    await load.stop();
    expectNoFailures();
    console.log(`${release.version}: ${load.requests()} requests, ${load.paired.length} pairings`);
    const [damage] = await cluster.servers[0].query(DAMAGE, 'scsp');
    // The codes of CPOs are not stored. To warm up, one was redeemed at each replica.
    const redeemed = load.paired.filter((pairing) => pairing.redeemed).length + started.length;
    expect(damage).toEqual({ ...UNHARMED, without_code: redeemed });
    const ended = load.paired.filter(({ unpaired }) => unpaired).map(({ uid }) => uid);
    await secondsUntil(async () => ended.every((uid) => backend.unpaired.has(uid)));
  });

  test('the feed has each pairing since the migration once, whichever version wrote it', async () => {
    const expected = load.paired.filter(({ began }) => began > migratedAt).map(({ uid }) => uid);
    const feed: string[] = [];
    let after = '0';
    await secondsUntil(async () => {
      const headers = { Authorization: `Bearer ${appToken}` };
      const answer = await fetch(`${cluster.url}/v1/events?after=${after}&limit=100`, { headers });
      const { items, next_after } = (await answer.json()) as any;
      after = next_after;
      feed.push(...items.filter(({ type }: any) => type === 'station.paired').map(({ data }: any) => data.uid));
      return items.length === 0 && feed.length >= expected.length;
    });
    const times = new Map<string, number>();
    for (const uid of feed) times.set(uid, (times.get(uid) ?? 0) + 1);
    expect(expected.filter((uid) => times.get(uid) !== 1)).toEqual([]);
  });
});
