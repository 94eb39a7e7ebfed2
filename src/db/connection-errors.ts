import { Client } from 'pg';
import { QueryFailedError } from 'typeorm';
import { OperatorError } from '../problems';
import { stateOf } from './errors';

/** Codes of Node for a certificate whose CA it does not know. */
const UNTRUSTED = /^(UNABLE_TO_(VERIFY|GET_ISSUER)|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED)/;

/**
 * For what fails while a database is opened.
 * @param setting where the URL comes from
 * @returns a function that throws an OperatorError with setting, place and reason; a refusal, or an error of a statement, as it is
 */
export function throwUnreachable(setting: string, url: string): (cause: unknown) => never {
  return (cause) => {
    if (cause instanceof QueryFailedError || cause instanceof OperatorError) throw cause;
    const what = stateOf(cause) === undefined ? 'does not answer' : 'refuses the connection';
    const remedy = UNTRUSTED.test(String(Object(cause).code))
      ? ': add sslmode=verify-full&sslrootcert=FILE to it, with the CA of the database'
      : '';
    throw new OperatorError(
      `the database of ${setting} (${placeOf(url)}) ${what}: ${unreachableBecause(cause)}${remedy}`,
      {
        cause,
      },
    );
  };
}

/** Why a database is away. */
export function unreachableBecause(error: unknown): string {
  // Of a name with several addresses, each failure is in `errors` and the message is empty.
  const failures = error instanceof AggregateError ? error.errors : [error];
  const messages = failures.map((failure) => (failure instanceof Error ? failure.message : String(failure)));
  return messages.join(', ');
}

/** Host, port and database of a URL, without user and password. */
function placeOf(url: string): string {
  const { hostname, port, pathname, searchParams } = new URL(url);
  // What a URL leaves out, the driver takes from the environment or its defaults.
  const driver = new Client();
  return `${hostname || searchParams.get('host') || driver.host}:${port || searchParams.get('port') || driver.port}${pathname}`;
}
