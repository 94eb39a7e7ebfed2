/**
 * Lists the settings that statements or the driver rely on and that a database or role may override. The isolation
 * level is not among them: the service works with any.
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
  // Not relied on: where the planner overestimates the rows, compiling a statement takes longer than executing it.
  jit: 'off',
  // A commit that did not wait for its synchronous standby is reported as a warning.
  client_min_messages: 'warning',
} as const;

/**
 * Adds SESSION_SETTINGS to the startup `options` of a URL, where they override those of the database, the role and the
 * URL. Not for a pooler, which rejects or drops `options`.
 * @param more further settings; their values must not contain spaces
 */
export function withSession(url: string, more: Readonly<Record<string, string>> = {}): string {
  const changed = new URL(url);
  const options = Object.entries({ ...SESSION_SETTINGS, ...more }).map(([name, value]) => `-c ${name}=${value}`);
  const given = changed.searchParams.get('options') ?? '';
  changed.searchParams.set('options', [given, ...options].join(' ').trim());
  return changed.href;
}
