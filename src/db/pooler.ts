import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { escapeIdentifier as quoted } from 'pg';
import { OperatorError } from '../problems';
import { sqlStateOf } from './errors';
import type { Listener } from './listener';
import { type Database, SERVER_TIMEOUTS } from './pool';
import { rows } from './query';

const NOTIFICATION_DEADLINE_MS = 2_000;

/** PgBouncer reports it for a startup parameter that it does not support. */
const PROTOCOL_VIOLATION = '08P01';

/**
 * Handles an error while opening the pool without DATABASE_DIRECT_URL.
 * @throws OperatorError if a connection pooler rejected the connection; any other error unchanged
 */
export function throwIfPooler(cause: unknown): never {
  if (sqlStateOf(cause) !== PROTOCOL_VIOLATION) throw cause;
  const reason = cause instanceof Error ? cause.message : cause;
  throw new OperatorError(`DATABASE_URL points to a connection pooler: set DATABASE_DIRECT_URL (${reason})`, { cause });
}

/**
 * Checks that the server limits how long a statement may run. A pooler drops the time-outs, so the role must have them.
 * @throws OperatorError if a time-out is missing or too long
 */
export async function requireTimeouts(db: Database): Promise<void> {
  const missing = await rows<{ name: keyof typeof SERVER_TIMEOUTS; role: string }>(
    db,
    `select name, current_user as role from pg_settings join jsonb_each_text($1) as wanted (name, ms) using (name)
     where setting::int not between 1 and ms::int order by name`,
    [JSON.stringify(SERVER_TIMEOUTS)],
  );
  if (missing.length === 0) return;
  const sets = missing.map(({ name, role }) => `alter role ${quoted(role)} set ${name} = ${SERVER_TIMEOUTS[name]};`);
  throw new OperatorError(
    `time-outs are not in force, because a pooler drops them: set DATABASE_DIRECT_URL, run ${sets.join(' ')} and reconnect the pooler`,
  );
}

/** Lists the settings that must hold behind a pooler, which drops those of the client, with a value that complies. */
const REQUIRED_SETTINGS: Readonly<Record<string, { readonly allowed: RegExp; readonly value: string }>> = {
  DateStyle: { allowed: /^ISO\b/, value: 'ISO' },
  array_nulls: { allowed: /^on$/, value: 'on' },
  client_min_messages: { allowed: /^(debug|log|notice|warning)/, value: 'warning' },
  extra_float_digits: { allowed: /^\d+$/, value: '1' },
  standard_conforming_strings: { allowed: /^on$/, value: 'on' },
};

/**
 * Checks the settings that the meaning of statements and results depends on.
 * @throws OperatorError if the database or the role sets one of them to an incompatible value
 */
export async function requireSession(db: Database): Promise<void> {
  const settings = await rows<{ name: string; setting: string; role: string; database: string }>(
    db,
    `select name, setting, current_user as role, current_database() as database
     from pg_settings where name = any($1) order by name`,
    [Object.keys(REQUIRED_SETTINGS)],
  );
  const remedies = settings.flatMap(({ name, setting, role, database }) => {
    const required = REQUIRED_SETTINGS[name];
    if (required === undefined || required.allowed.test(setting)) return [];
    return [`alter role ${quoted(role)} in database ${quoted(database)} set ${name} = ${required.value};`];
  });
  if (remedies.length === 0) return;
  throw new OperatorError(
    `the database or the role has incompatible settings, and a pooler drops the service's own: run ${remedies.join(' ')} and reconnect the pooler`,
  );
}

/**
 * Checks that the listener receives the pool's notifications.
 * @throws OperatorError if it does not: it is connected through a pooler, or to another database
 */
export async function requireNotifications(db: Database, listener: Listener, channel: string): Promise<void> {
  const nonce = randomUUID();
  const received = new AbortController();
  const unsubscribe = listener.on(channel, () => received.abort(), nonce);
  await rows(db, 'select pg_notify($1, $2)', [channel, nonce]);
  await sleep(NOTIFICATION_DEADLINE_MS, undefined, { signal: received.signal }).catch(() => undefined);
  unsubscribe();
  if (received.signal.aborted) return;
  throw new OperatorError(
    'notifications do not arrive: DATABASE_DIRECT_URL must point to the database of DATABASE_URL, bypassing any pooler',
  );
}
