/**
 * Settings that a database or a role may have set otherwise, and that statements or the driver rely on. The isolation of
 * transactions is not among them: any works.
 */
export const SESSION_SETTINGS = {
  search_path: 'public',
  datestyle: 'ISO',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  standard_conforming_strings: 'on',
  bytea_output: 'hex',
  extra_float_digits: '1',
  array_nulls: 'on',
  // A commit that did not wait for its standby says so in a warning.
  client_min_messages: 'warning',
} as const;

/**
 * The URL of a database with SESSION_SETTINGS in its start-up `options`, where they override those of the database, of
 * the role and of the URL itself. Not for a pooler, which refuses or drops `options`.
 * @param more further settings, without space in their values
 */
export function withSession(url: string, more: Readonly<Record<string, string>> = {}): string {
  const changed = new URL(url);
  const options = Object.entries({ ...SESSION_SETTINGS, ...more }).map(([name, value]) => `-c ${name}=${value}`);
  const given = changed.searchParams.get('options') ?? '';
  changed.searchParams.set('options', [given, ...options].join(' ').trim());
  return changed.href;
}
