import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { launch } from '../harness/a-process';
import { endLater } from '../harness/clean-up';
import type { AnEvent } from '../harness/feed';
import { aStation, createTestDatabase, type Harness, NO_LIMITS, SECRET_KEY, startHarness } from '../harness/harness';
import { SHORT, secondsUntil } from './fault';

type Token = string | undefined;
const PATIENCE_MS = 60_000;
const KILL_AFTER_S = SHORT ? 1 : 2;
/** Shorter than the time in which the replica that is asked is not killed: `KILL_AFTER_S` and the start of the other one. */
const WAIT_S = KILL_AFTER_S;

/** Two replicas as processes of their own, one of which is killed again and again while the other serves. */
async function startReplicas(setup: Harness) {
  const env = {
    DATABASE_URL: setup.databaseUrl,
    SECRET_KEY,
    DATA_DIR: setup.config.dataDir,
    SANDBOX: 'true',
    HOST: '127.0.0.1',
    ...NO_LIMITS,
  };
  const start = async () => {
    const child = launch(env);
    return { ...child, at: await child.url() };
  };
  const replicas = [await start(), await start()];
  let over = false;
  const kill = async () => {
    for (let n = 0; !over; n++) {
      await sleep(KILL_AFTER_S * 1_000);
      const victim = replicas[n % 2]!;
      victim.child.kill('SIGKILL');
      await victim.exited;
      replicas[n % 2] = await start();
    }
  };
  const killing = kill();
  const ask = async (
    method: string,
    path: string,
    token: Token,
    body?: unknown,
  ): Promise<{ status: number; body: any }> => {
    for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; ) {
      const { at } = replicas[Math.floor(Math.random() * 2)]!;
      try {
        const response = await fetch(at + path, {
          method,
          headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
          ...(body !== undefined && { body: JSON.stringify(body) }),
        });
        const text = await response.text();
        if (response.status !== 503)
          return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
      } catch {
        // Killed meanwhile; the other one, or its successor, is asked.
      }
      await sleep(50);
    }
    throw new Error(`no replica answered ${method} ${path} for a minute`);
  };
  return {
    ask,
    async stop() {
      over = true;
      await killing;
      for (const { child, exited } of replicas) {
        child.kill('SIGTERM');
        await exited;
      }
    },
  };
}

type Replicas = Awaited<ReturnType<typeof startReplicas>>;

/** Pairs a station and unpairs it, whatever became of the replica that was asked. */
async function pairAndUnpair({ ask }: Replicas, app: Token, cpo: Token, user_id: string = randomUUID()) {
  const { body: code } = await ask('POST', '/v1/app/pairing-codes', app, {
    user_id,
    charging_location_id: randomUUID(),
  });
  const uid = `S-${randomUUID()}`;
  await ask('POST', '/v1/scsp/ocpp2.0.1/pair', cpo, { code: code.code, charging_station: aStation(uid) });
  await ask('POST', `/v1/app/charging-stations/${uid}/unpair`, app);
}

async function startSetup() {
  const database = await createTestDatabase();
  const setup = await startHarness({ SANDBOX: 'true', ...NO_LIMITS }, { databaseUrl: database.url });
  // The replicas under test do it.
  await setup.service.stopPublishing();
  await setup.stopDelivery();
  return setup;
}

test('followers miss nothing and see nothing twice, in one order, whichever publisher is killed', async () => {
  const CHANGES = SHORT ? 400 : 10_000;
  const setup = await startSetup();
  const cpo = await setup.cpo();
  const replicas = await startReplicas(setup);
  let over = false;
  const follow = async () => {
    const seen: AnEvent[] = [];
    for (let after = '0'; ; ) {
      const { status, body } = await replicas.ask(
        'GET',
        `/v1/events?after=${after}&wait=${WAIT_S}&limit=500`,
        setup.appToken,
      );
      expect({ status, body }).toMatchObject({ status: 200 });
      seen.push(...body.items);
      after = body.next_after;
      if (over && body.items.length === 0) return seen;
    }
  };
  const readers = [follow(), follow(), follow()];
  const write = async () => {
    for (let n = 0; n < CHANGES / 8 / 2; n++) await pairAndUnpair(replicas, setup.appToken, cpo.token);
  };
  await Promise.all(Array.from({ length: 8 }, write));
  await secondsUntil(
    async () => (await setup.sql.query('select from events where position is null and seq is not null')).rowCount === 0,
  );
  over = true;
  const seen = await Promise.all(readers);

  const { rows } = await setup.sql.query(
    'select id, position from events where position is not null order by position',
  );
  expect(rows.map(({ position }) => Number(position))).toEqual(rows.map((_, n) => n + 1));
  for (const events of seen) expect(events.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
  const counted = await setup.sql.query(`
    select count(*)::int as pairings, count(*) filter (where ended_at is null)::int as active,
      (select count(*)::int from events where type = 'station.paired') as paired,
      (select count(*)::int from events where type = 'station.unpaired') as unpaired from pairings`);
  expect(counted.rows[0]).toEqual({ pairings: CHANGES / 2, active: 0, paired: CHANGES / 2, unpaired: CHANGES / 2 });
  await replicas.stop();
  await setup.stop();
}, 900_000);

test('every event reaches a receiver that fails one in three, none with a forgotten user, whenever the service is killed', async () => {
  const PAIRINGS = SHORT ? 60 : 600;
  const setup = await startSetup();
  const cpo = await setup.cpo();
  const received: { at: number; id: string | undefined; event: AnEvent }[] = [];
  const delivered = new Set<string | undefined>();
  let count = 0;
  const receiver = createServer(async (req, res) => {
    const at = performance.now();
    let body = '';
    for await (const chunk of req) body += chunk;
    const id = req.headers['webhook-id'] as string | undefined;
    received.push({ at, id, event: JSON.parse(body) });
    const failing = ++count % 3 === 0;
    if (!failing) delivered.add(id);
    res.writeHead(failing ? 500 : 204).end();
  }).listen(0, '127.0.0.1');
  endLater(() => receiver.close());
  await once(receiver, 'listening');
  const { port } = receiver.address() as AddressInfo;
  const replicas = await startReplicas(setup);
  const created = await replicas.ask('POST', '/v1/app/webhook-endpoints', setup.appToken, {
    url: `http://127.0.0.1:${port}/hook`,
  });
  expect(created.status).toBe(201);
  setup.secrets.add(created.body.secret);

  const forgotten = new Map<string, number>();
  for (let n = 0; n < PAIRINGS; n++) {
    const user = `user-${randomUUID()}`;
    await pairAndUnpair(replicas, setup.appToken, cpo.token, user);
    if (n % 10 !== 0) continue;
    await replicas.ask('DELETE', `/v1/app/users/${user}`, setup.appToken);
    forgotten.set(user, performance.now());
  }
  const pending = async () =>
    (await setup.sql.query(`select from webhook_deliveries where status = 'pending'`)).rowCount ?? 0;
  await secondsUntil(async () => {
    // The pauses and the leases of killed replicas take minutes.
    await setup.sql.query(
      `update webhook_deliveries set next_attempt_at = now(), leased_until = null
       where status = 'pending' and (leased_until is null or leased_until < now() + interval '5 seconds')`,
    );
    const { rowCount } = await setup.sql.query('select from events where position is null and seq is not null');
    return rowCount === 0 && (await pending()) === 0;
  }, 240);

  const { rows } = await setup.sql.query('select id from events where position is not null');
  expect(rows.filter(({ id }) => !delivered.has(id))).toEqual([]);
  for (const { id, event } of received) expect(event.id).toBe(id);
  // An attempt that starts within 300 ms may arrive later than that.
  const late = received.filter(({ at, event }) =>
    [...forgotten].some(([user, since]) => at > since + 1_000 && JSON.stringify(event).includes(user)),
  );
  expect(late).toEqual([]);
  await replicas.stop();
  await setup.stop();
}, 900_000);
