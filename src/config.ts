import { resolve } from 'node:path';
import { cleanEnv, str } from 'envalid';
import { addresses, contact, databaseUrl, decimal, flag, operatorName, url, whole } from './config-values';

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Every setting with its default. `.env.example` explains each; a test compares the two. */
export const settings = {
  PORT: whole(0, 65_535)({ default: 3000 }),
  HOST: str({ default: undefined }),
  DATABASE_URL: databaseUrl({ default: undefined }),
  DATABASE_DIRECT_URL: databaseUrl({ default: undefined }),
  MIGRATION_DATABASE_URL: databaseUrl({ default: undefined }),
  DATA_DIR: str({ default: '.data' }),
  SECRET_KEY: str({ default: undefined }),
  SECRET_KEY_PREVIOUS: str({ default: undefined }),
  LOG_LEVEL: str({ choices: ['error', 'warn', 'info', 'debug'], default: 'info' }),
  METRICS_PORT: whole(0, 65_535)({ default: undefined }),
  CODE_LENGTH: whole(4, 12)({ default: 6 }),
  CODE_TTL_SECONDS: whole(1, 86_400)({ default: 600 }),
  LIMIT_CPO_UID_10MIN: whole(1, 1_000_000)({ default: 5 }),
  LIMIT_CPO_UID_24H: whole(1, 1_000_000)({ default: 10 }),
  LIMIT_CPO_10MIN: whole(1, 1_000_000)({ default: 20 }),
  LIMIT_CPO_24H: whole(1, 1_000_000)({ default: 50 }),
  LIMIT_PER_SUCCESS: decimal(0, 100)({ default: 0.5 }),
  LIMIT_USER_10MIN: whole(1, 1_000_000)({ default: 5 }),
  LIMIT_USER_CALLS_10MIN: whole(1, 1_000_000)({ default: 20 }),
  LIMIT_USER_CODES_10MIN: whole(1, 1_000_000)({ default: 10 }),
  LIMIT_IN_FLIGHT: whole(1, 512)({ default: 256 }),
  ATTEMPTS_KEEP_DAYS: whole(1, 3_650)({ default: 30 }),
  EVENTS_KEEP_DAYS: whole(7, 3_650)({ default: 30 }),
  PAIRINGS_KEEP_DAYS: whole(7, 36_500)({ default: 730 }),
  PUBLIC_URL: url('http:', 'https:')({ default: undefined }),
  // The security mailbox (RFC 2142) of the party that runs the service.
  SECURITY_CONTACT: contact({ default: 'mailto:security@jedlix.com' }),
  EGRESS_ADDRESSES: addresses({ default: [] }),
  TRUSTED_PROXIES: addresses({ default: [] }),
  SANDBOX: flag({ default: undefined }),
  SCSP_ACTOR: operatorName({ default: undefined }),
  NODE_ENV: str({ default: 'development' }),
};

export type Config = Readonly<{
  port: number;
  /** Undefined: all addresses, including IPv6 where the kernel supports it. */
  host: string | undefined;
  /** Undefined: the embedded PostgreSQL in `dataDir` is used. */
  databaseUrl: string | undefined;
  /** The same database without a pooler in between, for work that needs a session of its own. */
  directDatabaseUrl: string | undefined;
  /** The same database, signed in as the role that owns the tables. */
  migrationDatabaseUrl: string | undefined;
  dataDir: string;
  /** Undefined: a key is generated on the first start and stored in `dataDir`. */
  secretKey: string | undefined;
  previousSecretKey: string | undefined;
  logLevel: string;
  metricsPort: number | undefined;
  codeLength: number;
  codeTtlSeconds: number;
  /** The limits on incorrect codes, calls and issued codes. */
  limits: Readonly<{
    cpoUid10Min: number;
    cpoUid24H: number;
    cpo10Min: number;
    cpo24H: number;
    /** Added to both limits of a CPO for each user with a pairing that began in the same window and lasts. */
    perSuccess: number;
    user10Min: number;
    userCalls10Min: number;
    userCodes10Min: number;
  }>;
  /** The maximum number of requests in flight of one CPO or app in a process. */
  limitInFlight: number;
  attemptsKeepDays: number;
  eventsKeepDays: number;
  pairingsKeepDays: number;
  publicUrl: string | undefined;
  securityContact: string;
  egressAddresses: readonly string[];
  /** The proxies whose `X-Forwarded-For` tells the address of a client. */
  trustedProxies: readonly string[];
  sandbox: boolean;
  /** The operator that the audit log names; undefined: the account of the operating system. */
  actor: string | undefined;
  /** Whether CPOs on loopback may be called, also over http: only while nobody else can reach the service, as far as is known. */
  callsLoopback: boolean;
  production: boolean;
}>;

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;

/** Returns the variables that are set. An empty one counts as unset. */
export function readEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
}

/**
 * Reads the settings from the environment.
 * @throws ConfigError that lists every invalid setting, one a line
 */
export function readConfig(env?: NodeJS.ProcessEnv): Config {
  const errors: string[] = [];
  const given = readEnvironment(env);
  const read = cleanEnv(given, settings, {
    reporter: ({ errors: invalid }) => {
      for (const [name, error] of Object.entries(invalid)) errors.push(`${name} ${error?.message}`);
    },
  });
  const production = read.NODE_ENV === 'production';
  // Reading an invalid setting from `read` throws.
  const sandbox = given.SANDBOX === undefined ? given.DATABASE_URL === undefined : given.SANDBOX === 'true';
  const host = read.HOST ?? (sandbox ? '127.0.0.1' : undefined);
  if (production && given.DATABASE_URL === undefined)
    errors.push('DATABASE_URL is required with NODE_ENV=production: the embedded database is for development only');
  if (production && given.SECRET_KEY === undefined) errors.push('SECRET_KEY is required with NODE_ENV=production');
  if (production && read.SECRET_KEY !== undefined && read.SECRET_KEY.length < 32)
    errors.push('SECRET_KEY must have at least 32 characters with NODE_ENV=production');
  if (given.DATABASE_DIRECT_URL !== undefined && given.DATABASE_URL === undefined)
    errors.push(
      'DATABASE_DIRECT_URL needs DATABASE_URL: it is the direct connection to the same database, without the pooler',
    );
  const areDays = !errors.some((error) => /^(EVENTS|PAIRINGS)_KEEP_DAYS /.test(error));
  if (areDays && read.PAIRINGS_KEEP_DAYS < read.EVENTS_KEEP_DAYS)
    errors.push('PAIRINGS_KEEP_DAYS must be at least EVENTS_KEEP_DAYS: events refer to pairings');
  if (sandbox && given.DATABASE_URL === undefined && !LOOPBACK.test(host ?? ''))
    errors.push(
      'HOST must be a loopback address without DATABASE_URL: the sandbox keeps its tokens unencrypted in DATA_DIR',
    );
  if (errors.length > 0) throw new ConfigError(errors.sort().join('\n'));

  // Through a proxy on the same machine others reach a service that listens on loopback.
  const { PUBLIC_URL = 'http://localhost', TRUSTED_PROXIES } = read;
  const isProxied = production || TRUSTED_PROXIES.length > 0 || !LOOPBACK.test(new URL(PUBLIC_URL).hostname);
  return Object.freeze({
    port: read.PORT,
    host,
    databaseUrl: read.DATABASE_URL,
    directDatabaseUrl: read.DATABASE_DIRECT_URL ?? read.DATABASE_URL,
    migrationDatabaseUrl: read.MIGRATION_DATABASE_URL,
    dataDir: resolve(read.DATA_DIR),
    secretKey: read.SECRET_KEY,
    previousSecretKey: read.SECRET_KEY_PREVIOUS,
    logLevel: read.LOG_LEVEL,
    metricsPort: read.METRICS_PORT,
    codeLength: read.CODE_LENGTH,
    codeTtlSeconds: read.CODE_TTL_SECONDS,
    limits: Object.freeze({
      cpoUid10Min: read.LIMIT_CPO_UID_10MIN,
      cpoUid24H: read.LIMIT_CPO_UID_24H,
      cpo10Min: read.LIMIT_CPO_10MIN,
      cpo24H: read.LIMIT_CPO_24H,
      perSuccess: read.LIMIT_PER_SUCCESS,
      user10Min: read.LIMIT_USER_10MIN,
      userCalls10Min: read.LIMIT_USER_CALLS_10MIN,
      userCodes10Min: read.LIMIT_USER_CODES_10MIN,
    }),
    limitInFlight: read.LIMIT_IN_FLIGHT,
    attemptsKeepDays: read.ATTEMPTS_KEEP_DAYS,
    eventsKeepDays: read.EVENTS_KEEP_DAYS,
    pairingsKeepDays: read.PAIRINGS_KEEP_DAYS,
    publicUrl: read.PUBLIC_URL,
    securityContact: read.SECURITY_CONTACT,
    egressAddresses: Object.freeze(read.EGRESS_ADDRESSES),
    trustedProxies: Object.freeze(read.TRUSTED_PROXIES),
    sandbox,
    actor: read.SCSP_ACTOR,
    callsLoopback: sandbox && LOOPBACK.test(host ?? '') && !isProxied,
    production,
  });
}
