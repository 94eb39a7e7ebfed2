import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { projectFile } from '../../src/contract/document';
import { launch } from '../harness/a-process';
import { runProgram } from '../harness/a-program';
import { SECRET_KEY } from '../harness/harness';
import { PASSWORD, postgresServer } from './a-postgres-server';
import { secondsUntil } from './fault';
import { account, connects, daemon, deployed, freePorts, program } from './programs';

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

/**
 * Two PostgreSQL servers, a primary and a synchronous standby, PgBouncer in transaction mode and HAProxy, all as the
 * files in `deploy/` say, and the settings of a service on them.
 * @param build the folder of the build that migrates the empty database
 */
export async function startCluster(replicaCount: number, build = projectFile('dist')) {
  // Before anything runs that nobody would end.
  for (const needed of ['postgres', 'pgbouncer', 'haproxy']) program(needed);
  const home = mkdtempSync(join(tmpdir(), 'scsp-cluster-'));
  chmodSync(home, 0o711);
  const { uid, gid } = account();
  if (uid !== undefined && gid !== undefined) chownSync(home, uid, gid);
  const ports = await freePorts(5 + replicaCount);
  const [portA, portB, directPort, pooledPort, callersPort] = ports as [number, number, number, number, number];
  const replicaPorts = ports.slice(5);

  const servers = [postgresServer(home, 'a', portA), postgresServer(home, 'b', portB)] as const;
  const [primary, standby] = servers;
  await primary.init();
  await primary.start();
  const passwords = ['owner', 'service', 'replicator'].map((who) => [`CHANGE-ME-${who}`, PASSWORD] as const);
  // Until the standby is there nothing would be committed.
  await primary.waitForNobody();
  // One by one, as psql does: together they were one transaction, in which no database can be created.
  for (const statement of deployed('postgresql/roles.sql', passwords).split(';\n')) await primary.query(statement);
  await standby.follow(primary);

  const inside = (name: string, text: string) => {
    const file = join(home, name);
    writeFileSync(file, text);
    if (uid !== undefined && gid !== undefined) chownSync(file, uid, gid);
    return file;
  };
  const adminSocket = join(home, 'haproxy.sock');
  const proxy = await daemon(home, 'haproxy', ['-db', '-f', inside('haproxy.cfg', haproxyConfig())], callersPort);
  const [user] = await primary.query(
    `select format('"%s" "%s"', rolname, rolpassword) as line from pg_authid where rolname = 'scsp_service'`,
  );
  const users = inside('userlist.txt', `${user.line}\n`);
  const pooler = await startPooler('pgbouncer', pooledPort);

  function haproxyConfig(): string {
    return deployed('haproxy/haproxy.cfg', [
      ['/run/haproxy/admin.sock', adminSocket],
      [':443 ssl crt /etc/haproxy/pairing.pem alpn h2,http/1.1', `127.0.0.1:${callersPort}`],
      ['127.0.0.1:5432', `127.0.0.1:${directPort}`],
      ['10.0.0.11:5432', `127.0.0.1:${portA}`],
      ['10.0.0.12:5432', `127.0.0.1:${portB}`],
      ...replicaPorts.map((port, i) => [`10.0.0.${i + 1}:3000`, `127.0.0.1:${port}`] as const),
    ]);
  }

  async function askHaproxy(command: string): Promise<string> {
    const admin = connect(adminSocket);
    admin.end(`${command}\n`);
    return readAll(admin);
  }

  async function setState(index: number, state: 'drain' | 'ready') {
    const answer = await askHaproxy(`set server replicas/replica-${index + 1} state ${state}`);
    if (answer.trim() !== '') throw new Error(`HAProxy: ${answer}`);
  }

  /** How many requests each replica has in progress, as HAProxy counts them. */
  async function requestsInProgress(): Promise<number[]> {
    const [header = '', ...servers] = (await askHaproxy('show stat replicas 4 -1')).trim().split('\n');
    const column = header.split(',').indexOf('scur');
    return servers.map((line) => Number(line.split(',')[column]));
  }

  async function startPooler(name: string, port: number, changes: readonly (readonly [string, string])[] = []) {
    const text = deployed('pgbouncer/pgbouncer.ini', [
      ['port=5432', `port=${directPort}`],
      ['listen_port = 6432', `listen_port = ${port}\nunix_socket_dir =`],
      ['/etc/pgbouncer/userlist.txt', users],
      ...changes,
    ]);
    return daemon(home, 'pgbouncer', [inside(`${name}.ini`, text)], port);
  }

  const service = (port: number) => `postgres://scsp_service:${PASSWORD}@127.0.0.1:${port}/scsp`;
  const settings = {
    DATABASE_URL: service(pooledPort),
    DATABASE_DIRECT_URL: service(directPort),
    SECRET_KEY,
    // CPOs of the tests listen on this machine, which a service with NODE_ENV=production does not call.
    SANDBOX: 'true',
  };
  /** Returns the command line of a build; a command returns what it prints as JSON. */
  const commandsOf =
    (folder: string) =>
    async (args: string[], more: Record<string, string> = {}, input = ''): Promise<any> => {
      const line = [join(folder, 'src/cli.js'), ...args, '--json'];
      const { code, stdout, stderr } = await runProgram(process.execPath, line, { ...settings, ...more }, input);
      if (code !== 0) throw new Error(stderr);
      return JSON.parse(stdout);
    };
  const migrate = (folder: string) =>
    commandsOf(folder)(['migrate'], { MIGRATION_DATABASE_URL: primary.url('scsp_owner', 'scsp') });
  await secondsUntil(() => connects(directPort));
  await migrate(build);

  return {
    servers,
    settings,
    scsp: commandsOf(build),
    /** Runs the migrations of a build, as the owner of the tables. */
    migrate,
    /** Where callers call. */
    url: `http://127.0.0.1:${callersPort}`,
    /** Starts a replica on the port that HAProxy knows; ready when it resolves. */
    async replica(index: number, more: Record<string, string> = {}, of = build) {
      const port = replicaPorts[index];
      const env = { ...settings, HOST: '127.0.0.1', PORT: String(port), DATA_DIR: home, ...more };
      const started = launch(env, { build: of });
      await started.url();
      return Object.assign(started, { at: `http://127.0.0.1:${port}` });
    },
    /** Takes a replica out of HAProxy's rotation, and resolves when HAProxy waits for no response of it. */
    async takeOut(index: number) {
      await setState(index, 'drain');
      await secondsUntil(async () => (await requestsInProgress())[index] === 0);
    },
    /** Puts a replica back into HAProxy's rotation. */
    putBack: (index: number) => setState(index, 'ready'),
    /** Another PgBouncer with these lines of its file changed; where the service would find it. */
    async pooler(changes: readonly (readonly [string, string])[]) {
      const [port = 0] = await freePorts(1);
      const started = await startPooler(`pgbouncer-${port}`, port, changes);
      return { url: service(port), stop: started.stop };
    },
    async stop() {
      await Promise.all([proxy.stop(), pooler.stop()]);
      await Promise.all(servers.map((server) => server.end('SIGQUIT')));
      rmSync(home, { recursive: true, force: true });
    },
  };
}
