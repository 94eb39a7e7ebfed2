import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { escapeIdentifier as quoted } from 'pg';
import { OperatorError } from '../problems';
import { stateOf } from './errors';
import type { Listener } from './listener';
import { type Database, SERVER_TIMEOUTS } from './pool';
import { rows } from './query';

const HEARD_MS = 2_000;

/** PgBouncer's for a start-up parameter that it does not know. */
const REFUSED = '08P01';

/**
 * For what fails while the pool is opened without DATABASE_DIRECT_URL.
 * @throws OperatorError that says what to do when a pooler refuses; any other error as it is
 */
export function refuseAsPooler(cause: unknown): never {
  if (stateOf(cause) !== REFUSED) throw cause;
  const reason = cause instanceof Error ? cause.message : cause;
  throw new OperatorError(`DATABASE_URL leads to a pooler: set DATABASE_DIRECT_URL (${reason})`, { cause });
}

/**
 * Sees to it that no statement holds a connection of the database for long. What a pooler does not pass on must stand
 * with the role.
 * @throws OperatorError when a time-out is missing
 */
export async function requireTimeouts(db: Database): Promise<void> {
  const loose = await rows<{ name: keyof typeof SERVER_TIMEOUTS; role: string }>(
    db,
    `select name, current_user as role from pg_settings join jsonb_each_text($1) as wanted (name, ms) using (name)
     where setting::int not between 1 and ms::int order by name`,
    [JSON.stringify(SERVER_TIMEOUTS)],
  );
  if (loose.length === 0) return;
  const sets = loose.map(({ name, role }) => `alter role ${quoted(role)} set ${name} = ${SERVER_TIMEOUTS[name]};`);
  throw new OperatorError(
    `time-outs are missing, a pooler drops them: set DATABASE_DIRECT_URL, run ${sets.join(' ')} and reconnect the pooler`,
  );
}

/** What must hold behind a pooler, which passes no settings on. */
const SUITS: Readonly<Record<string, { readonly suits: RegExp; readonly set: string }>> = {
  DateStyle: { suits: /^ISO\b/, set: 'ISO' },
  array_nulls: { suits: /^on$/, set: 'on' },
  client_min_messages: { suits: /^(debug|log|notice|warning)/, set: 'warning' },
  extra_float_digits: { suits: /^\d+$/, set: '1' },
  standard_conforming_strings: { suits: /^on$/, set: 'on' },
};

/**
 * Sees to it that statements and answers mean what the service takes them for.
 * @throws OperatorError when a setting of the database or of the role does not suit
 */
export async function requireSession(db: Database): Promise<void> {
  const set = await rows<{ name: string; setting: string; role: string; database: string }>(
    db,
    `select name, setting, current_user as role, current_database() as database
     from pg_settings where name = any($1) order by name`,
    [Object.keys(SUITS)],
  );
  const remedies = set.flatMap(({ name, setting, role, database }) => {
    const wanted = SUITS[name];
    if (wanted === undefined || wanted.suits.test(setting)) return [];
    return [`alter role ${quoted(role)} in database ${quoted(database)} set ${name} = ${wanted.set};`];
  });
  if (remedies.length === 0) return;
  throw new OperatorError(
    `settings of the database or the role do not suit, and a pooler passes none on: run ${remedies.join(' ')} and reconnect the pooler`,
  );
}

/**
 * Sees to it that what the pool notifies of is heard by the bell.
 * @throws OperatorError when it is not: through a pooler, or from another database
 */
export async function requireNotifications(db: Database, listener: Listener, channel: string): Promise<void> {
  const nonce = randomUUID();
  const heard = new AbortController();
  const unsubscribe = listener.on(channel, () => heard.abort(), nonce);
  await rows(db, 'select pg_notify($1, $2)', [channel, nonce]);
  await sleep(HEARD_MS, undefined, { signal: heard.signal }).catch(() => undefined);
  unsubscribe();
  if (heard.signal.aborted) return;
  throw new OperatorError(
    'notifications do not arrive: DATABASE_DIRECT_URL must lead to the database of DATABASE_URL, past any pooler',
  );
}
