import { Client } from 'pg';
import { QueryFailedError } from 'typeorm';
import type { Config } from '../config';
import { OperatorError } from '../problems';
import { isDefect, sqlStateOf } from './errors';

/** Matches Node's error codes for a certificate from an unknown CA. */
const UNTRUSTED = /^(UNABLE_TO_(VERIFY|GET_ISSUER)|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED)/;

/** Reports that a database cannot be connected to. */
export class Unreachable extends OperatorError {}

/**
 * Creates a handler for errors while connecting to a database.
 * @param setting the name of the setting that holds the URL
 * @returns a function that throws Unreachable with setting, address and reason; rethrows OperatorErrors, query errors and defects
 */
export function throwUnreachable(setting: string, url: string): (cause: unknown) => never {
  return (cause) => {
    if (cause instanceof QueryFailedError || cause instanceof OperatorError || isDefect(cause)) throw cause;
    const what = sqlStateOf(cause) === undefined ? 'does not answer' : 'refuses the connection';
    const remedy = UNTRUSTED.test(String(Object(cause).code))
      ? ': add sslmode=verify-full&sslrootcert=FILE to the URL, where FILE is the CA certificate of the database'
      : '';
    throw new Unreachable(
      `the database of ${setting} (${addressOf(url)}) ${what}: ${connectionFailureReason(cause)}${remedy}`,
      {
        cause,
      },
    );
  };
}

/** Returns the reason for a failed connection. */
export function connectionFailureReason(error: unknown): string {
  // If a host name has several addresses, `errors` holds one error per address and the message is empty.
  const failures = error instanceof AggregateError ? error.errors : [error];
  const messages = failures.map((failure) => (failure instanceof Error ? failure.message : String(failure)));
  return messages.join(', ');
}

/** Returns host, port and database of a URL, without user and password. */
function addressOf(url: string): string {
  const { hostname, port, pathname, searchParams } = new URL(url);
  // The driver takes missing parts from the environment or its defaults.
  const driver = new Client();
  return `${hostname || searchParams.get('host') || driver.host}:${port || searchParams.get('port') || driver.port}${pathname}`;
}

/** Returns the name of the setting that a database URL comes from: DATA_DIR for the embedded database. */
export function settingOf(config: Config, databaseUrl: string): string {
  const settings = [
    ['DATABASE_URL', config.databaseUrl],
    ['DATABASE_DIRECT_URL', config.directDatabaseUrl],
    ['MIGRATION_DATABASE_URL', config.migrationDatabaseUrl],
  ];
  return settings.find(([, url]) => url === databaseUrl)?.[0] ?? 'DATA_DIR';
}
