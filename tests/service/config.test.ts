import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, readConfig, settings } from '../../src/config';
import { parseYaml } from '../harness/yaml';

const SECRET = 'x'.repeat(32);
const DATABASE = 'postgres://user:secret@db.example:5432/scsp';
const PRODUCTION = { NODE_ENV: 'production', DATABASE_URL: DATABASE, SECRET_KEY: SECRET };

/** The names of the settings that a refusal blames, one a line; none when the settings are fine. */
function blamed(env: NodeJS.ProcessEnv): string[] {
  return refusal(env).map((line) => line.split(' ')[0] ?? '');
}

function refusal(env: NodeJS.ProcessEnv): string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split('\n');
  }
}

describe('.env.example', () => {
  const text = readFileSync(join(__dirname, '../../.env.example'), 'utf8');
  const written = [...text.matchAll(/^# ([A-Z0-9_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]);

  test('has every setting once, with its default', () => {
    const defaults = Object.entries(settings).map(([name, setting]: [string, any]) => [
      name,
      String(setting.default ?? ''),
    ]);
    expect(written.sort()).toEqual(defaults.sort());
  });

  test('sets nothing and explains each setting in one line', () => {
    expect(text).not.toMatch(/^\s*[^#\s]/m);
    expect(text.match(/(?<=\n\n)# \S.*\n# [A-Z0-9_]+=.*\n/g)).toHaveLength(written.length);
  });
});

test('docker-compose.yml passes on every setting that it does not set itself, or that belongs to a process', () => {
  const { services } = parseYaml(readFileSync(join(__dirname, '../../docker-compose.yml'), 'utf8'));
  const OWN = 'NODE_ENV PORT DATABASE_DIRECT_URL MIGRATION_DATABASE_URL DATA_DIR SANDBOX SCSP_ACTOR'.split(' ');
  expect([...Object.keys(services.service.environment), ...OWN].sort()).toEqual(Object.keys(settings).sort());
});

test('an empty environment is the sandbox on loopback', () => {
  expect(readConfig({})).toMatchObject({
    port: 3000,
    host: '127.0.0.1',
    databaseUrl: undefined,
    directDatabaseUrl: undefined,
    migrationDatabaseUrl: undefined,
    dataDir: resolve('.data'),
    secretKey: undefined,
    logLevel: 'info',
    metricsPort: undefined,
    codeLength: 6,
    codeTtlSeconds: 600,
    limits: {
      cpoUid10Min: 5,
      cpo10Min: 20,
      cpo24H: 50,
      perSuccess: 0.5,
      user10Min: 5,
      userCalls10Min: 20,
      userCodes10Min: 10,
    },
    attemptsKeepDays: 30,
    eventsKeepDays: 30,
    pairingsKeepDays: 730,
    publicUrl: undefined,
    securityContact: 'mailto:security@jedlix.com',
    egressAddresses: [],
    sandbox: true,
    callsLoopback: true,
    production: false,
  });
});

test('every setting is read', () => {
  const env = {
    ...PRODUCTION,
    PORT: '0',
    HOST: '0.0.0.0',
    DATA_DIR: '/var/lib/scsp',
    LOG_LEVEL: 'debug',
    METRICS_PORT: '9464',
    CODE_LENGTH: '8',
    CODE_TTL_SECONDS: '60',
    SECRET_KEY_PREVIOUS: 'before',
    LIMIT_CPO_UID_10MIN: '1',
    LIMIT_CPO_10MIN: '2',
    LIMIT_CPO_24H: '3',
    LIMIT_PER_SUCCESS: '0.25',
    LIMIT_USER_10MIN: '4',
    LIMIT_IN_FLIGHT: '5',
    LIMIT_USER_CALLS_10MIN: '6',
    LIMIT_USER_CODES_10MIN: '7',
    ATTEMPTS_KEEP_DAYS: '7',
    EVENTS_KEEP_DAYS: '8',
    PAIRINGS_KEEP_DAYS: '9',
    PUBLIC_URL: 'https://pairing.example/',
    DATABASE_DIRECT_URL: DATABASE.replace('5432', '5433'),
    MIGRATION_DATABASE_URL: DATABASE.replace('user', 'owner'),
    SECURITY_CONTACT: 'https://pairing.example/report',
    EGRESS_ADDRESSES: '192.0.2.1',
    TRUSTED_PROXIES: '192.0.2.2',
    SANDBOX: 'false',
    SCSP_ACTOR: 'alice@jedlix.com',
  };
  expect(readConfig(env)).toMatchObject({
    port: 0,
    host: '0.0.0.0',
    databaseUrl: DATABASE,
    directDatabaseUrl: DATABASE.replace('5432', '5433'),
    migrationDatabaseUrl: DATABASE.replace('user', 'owner'),
    dataDir: '/var/lib/scsp',
    secretKey: SECRET,
    logLevel: 'debug',
    metricsPort: 9464,
    codeLength: 8,
    codeTtlSeconds: 60,
    previousSecretKey: 'before',
    limits: {
      cpoUid10Min: 1,
      cpo10Min: 2,
      cpo24H: 3,
      perSuccess: 0.25,
      user10Min: 4,
      userCalls10Min: 6,
      userCodes10Min: 7,
    },
    limitInFlight: 5,
    attemptsKeepDays: 7,
    eventsKeepDays: 8,
    pairingsKeepDays: 9,
    publicUrl: 'https://pairing.example',
    securityContact: 'https://pairing.example/report',
    egressAddresses: ['192.0.2.1'],
    sandbox: false,
    actor: 'alice@jedlix.com',
    callsLoopback: false,
    production: true,
  });
});

test('a variable without text counts as unset', () => {
  const empty = Object.fromEntries(Object.keys(settings).map((name) => [name, '']));
  expect(readConfig(empty)).toEqual(readConfig({}));
  expect(blamed({ ...PRODUCTION, SECRET_KEY: '' })).toEqual(['SECRET_KEY']);
});

test('the configuration cannot be changed afterwards', () => expect(Object.isFrozen(readConfig({}))).toBe(true));

test('all errors are reported at once, each under its name', () => {
  const invalidAnswer = {
    PORT: '65536',
    DATABASE_URL: 'mysql://db.example/scsp',
    LOG_LEVEL: 'loud',
    METRICS_PORT: 'on',
    CODE_LENGTH: '3',
    CODE_TTL_SECONDS: '0',
    PUBLIC_URL: 'pairing.example',
    MIGRATION_DATABASE_URL: 'db.example',
    SECURITY_CONTACT: 'security@pairing.example',
    SANDBOX: 'yes',
    NODE_ENV: 'production',
  };
  expect(blamed(invalidAnswer)).toEqual(
    ['SECRET_KEY', ...Object.keys(invalidAnswer).filter((name) => name !== 'NODE_ENV')].sort(),
  );
});

test('an invalid DATABASE_URL is the only error it causes, and its password stays out of the message', () => {
  const faults = refusal({ DATABASE_URL: DATABASE.replace('postgres', 'mysql'), HOST: '0.0.0.0' });
  expect(faults).toEqual(['DATABASE_URL must be a URL that begins with postgres:// or postgresql://']);
});

describe('the password of a database', () => {
  test.each(['p#ss', '1#ss', 'p/ss', '1/ss', 'p?ss', '1?ss', 'p%ss', '100%'])(
    '%s that is not percent-encoded is reported, and not shown',
    (password) => {
      for (const name of ['DATABASE_URL', 'DATABASE_DIRECT_URL', 'MIGRATION_DATABASE_URL']) {
        const faults = refusal({ DATABASE_URL: DATABASE, [name]: `postgres://app:${password}@db.example/scsp` });
        expect(faults).toEqual([
          expect.stringMatching(new RegExp(`^${name} must be a URL in which .* percent-encoded`)),
        ]);
        expect(faults.join()).not.toContain(password);
      }
    },
  );

  test('may hold what needs no encoding, and any character that is encoded', () => {
    for (const password of ['p@ss', 'p:ss', "!$&'()*+,;=", encodeURIComponent('p#s/s?@%'), 'pässword'])
      expect(blamed({ DATABASE_URL: `postgres://app:${password}@db.example:5432/scsp?sslmode=verify-full` })).toEqual(
        [],
      );
  });
});

describe('bounds', () => {
  test.each([
    ['PORT', '0', '65535'],
    ['METRICS_PORT', '0', '65535'],
    ['CODE_LENGTH', '4', '12'],
    ['CODE_TTL_SECONDS', '1', '86400'],
    ['LIMIT_CPO_UID_10MIN', '1', '1000000'],
    ['LIMIT_CPO_10MIN', '1', '1000000'],
    ['LIMIT_CPO_24H', '1', '1000000'],
    ['LIMIT_USER_10MIN', '1', '1000000'],
    ['LIMIT_IN_FLIGHT', '1', '512'],
    ['ATTEMPTS_KEEP_DAYS', '1', '3650'],
    ['EVENTS_KEEP_DAYS', '7', '3650'],
    ['PAIRINGS_KEEP_DAYS', '7', '36500'],
  ])('%s is a whole number from %s to %s', (name, least, most) => {
    const others = { EVENTS_KEEP_DAYS: '7', PAIRINGS_KEEP_DAYS: '36500' };
    for (const value of [least, most]) expect(blamed({ ...others, [name]: value })).toEqual([]);
    const outside = [String(Number(least) - 1), String(Number(most) + 1), `${least}.5`, '1e1', '0x5', ' 5', 'five'];
    for (const value of outside)
      expect(refusal({ [name]: value })).toEqual([`${name} must be a whole number from ${least} to ${most}`]);
  });

  test.each([
    ['DATABASE_URL', 'postgres://db.example/scsp', []],
    ['DATABASE_URL', 'postgresql://db.example/scsp?sslmode=require', []],
    ['DATABASE_URL', 'db.example/scsp', ['DATABASE_URL']],
    ['DATABASE_URL', 'postgres:scsp', ['DATABASE_URL']],
    ['DATABASE_URL', 'http://db.example', ['DATABASE_URL']],
    ['PUBLIC_URL', 'http://localhost:3000', []],
    ['PUBLIC_URL', 'https://pairing.example/behind/a/path', []],
    ['PUBLIC_URL', 'https:pairing.example', ['PUBLIC_URL']],
    ['PUBLIC_URL', 'ftp://pairing.example', ['PUBLIC_URL']],
    ['PUBLIC_URL', 'https://', ['PUBLIC_URL']],
    ['PUBLIC_URL', 'https://user@pairing.example', ['PUBLIC_URL']],
    ['PUBLIC_URL', 'https://pairing.example?a=b', ['PUBLIC_URL']],
    ['SCSP_ACTOR', 'Zoë Example', []],
    ['SCSP_ACTOR', 'two\nlines', ['SCSP_ACTOR']],
    ['SECURITY_CONTACT', 'mailto:security@pairing.example', []],
    ['SECURITY_CONTACT', 'https://pairing.example/report', []],
    ['SECURITY_CONTACT', 'http://pairing.example/report', ['SECURITY_CONTACT']],
    ['SECURITY_CONTACT', 'mailto:security', ['SECURITY_CONTACT']],
    ['SECURITY_CONTACT', 'mailto:a@b.example\nExpires: never', ['SECURITY_CONTACT']],
    ['LIMIT_PER_SUCCESS', '0', []],
    ['LIMIT_PER_SUCCESS', '100', []],
    ['LIMIT_PER_SUCCESS', '100.5', ['LIMIT_PER_SUCCESS']],
    ['LIMIT_PER_SUCCESS', '-1', ['LIMIT_PER_SUCCESS']],
    ['LIMIT_PER_SUCCESS', '.5', ['LIMIT_PER_SUCCESS']],
    ['LOG_LEVEL', 'warn', []],
    ['LOG_LEVEL', 'WARN', ['LOG_LEVEL']],
    ['SANDBOX', 'true', []],
    ['SANDBOX', '1', ['SANDBOX']],
  ])('%s=%s: %j', (name, value, faults) => expect(blamed({ [name]: value })).toEqual(faults));
});

test('pairings are kept at least as long as events, which refer to them', () => {
  const message = 'PAIRINGS_KEEP_DAYS must be at least EVENTS_KEEP_DAYS: events refer to pairings';
  expect(refusal({ PAIRINGS_KEEP_DAYS: '29' })).toEqual([message]);
  expect(refusal({ EVENTS_KEEP_DAYS: '731' })).toEqual([message]);
  expect(refusal({ EVENTS_KEEP_DAYS: '7', PAIRINGS_KEEP_DAYS: '7' })).toEqual([]);
  expect(blamed({ EVENTS_KEEP_DAYS: '6', PAIRINGS_KEEP_DAYS: '5', PORT: 'x' })).toEqual([
    'EVENTS_KEEP_DAYS',
    'PAIRINGS_KEEP_DAYS',
    'PORT',
  ]);
});

describe('NODE_ENV=production', () => {
  test('starts with a database and a secret key', () => expect(refusal(PRODUCTION)).toEqual([]));

  test('refuses to start without either', () => {
    expect(blamed({ NODE_ENV: 'production' })).toEqual(['DATABASE_URL', 'SECRET_KEY']);
    expect(blamed({ ...PRODUCTION, DATABASE_URL: undefined })).toEqual(['DATABASE_URL']);
    expect(blamed({ ...PRODUCTION, SECRET_KEY: undefined })).toEqual(['SECRET_KEY']);
  });

  test('refuses a secret key of less than 32 characters', () => {
    expect(blamed({ ...PRODUCTION, SECRET_KEY: SECRET.slice(1) })).toEqual(['SECRET_KEY']);
    expect(blamed({ SECRET_KEY: 'short' })).toEqual([]);
  });
});

describe('the sandbox', () => {
  test.each([
    [{}, true],
    [{ DATABASE_URL: DATABASE }, false],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true' }, true],
    [{ SANDBOX: 'false' }, false],
  ])('%j: %s', (env, sandbox) => expect(readConfig(env).sandbox).toBe(sandbox));

  test.each(['localhost', '127.0.0.1', '127.1.2.3', '::1'])('listens on %s', (HOST) =>
    expect(readConfig({ HOST }).host).toBe(HOST),
  );

  test.each(['0.0.0.0', '::', '192.0.2.1', 'localhost.example', '127.0.0.1.example'])(
    'does not listen on %s with the embedded database',
    (HOST) => {
      expect(blamed({ HOST })).toEqual(['HOST']);
      expect(blamed({ HOST, DATABASE_URL: DATABASE, SANDBOX: 'true' })).toEqual([]);
      expect(blamed({ HOST, DATABASE_URL: DATABASE })).toEqual([]);
    },
  );

  test.each([
    [{}, true],
    [{ HOST: '::1' }, true],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true' }, true],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true', HOST: '0.0.0.0' }, false],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true', HOST: '192.0.2.1' }, false],
    [{ DATABASE_URL: DATABASE, HOST: '127.0.0.1' }, false],
    [{ PUBLIC_URL: 'http://localhost:3000' }, true],
    // A reverse proxy on the same machine lets others in.
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true', PUBLIC_URL: 'https://sandbox.example' }, false],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true', TRUSTED_PROXIES: '127.0.0.1' }, false],
    [{ DATABASE_URL: DATABASE, SANDBOX: 'true', NODE_ENV: 'production', SECRET_KEY: 'x'.repeat(32) }, false],
  ])('calls CPOs on this machine only while nobody else reaches it: %j: %s', (env, calls) =>
    expect(readConfig(env).callsLoopback).toBe(calls),
  );

  test('outside it the service listens on every address', () =>
    expect(readConfig({ DATABASE_URL: DATABASE }).host).toBeUndefined());
});

describe('the addresses that CPOs are called from', () => {
  test('are IP addresses and ranges', () =>
    expect(readConfig({ EGRESS_ADDRESSES: '192.0.2.1, 198.51.100.0/28,2001:db8::/64' }).egressAddresses).toEqual([
      '192.0.2.1',
      '198.51.100.0/28',
      '2001:db8::/64',
    ]));

  test('and so are those of proxies', () =>
    expect(readConfig({ TRUSTED_PROXIES: '192.0.2.1,2001:db8::/64' }).trustedProxies).toEqual([
      '192.0.2.1',
      '2001:db8::/64',
    ]));

  test.each(['cpo.example', '192.0.2.1,', '192.0.2.0/33', '<b>'])('are not %s', (EGRESS_ADDRESSES) =>
    expect(blamed({ EGRESS_ADDRESSES })).toEqual(['EGRESS_ADDRESSES']),
  );
});
