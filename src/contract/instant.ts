const INSTANT =
  /^(\d{4}-\d\d-\d\d)[T ]((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)(\.\d+)?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i;
const EARLIEST = Date.UTC(1970);
const LATEST = Date.UTC(9999);

/**
 * Truncates an instant (RFC 3339) to milliseconds. Begins and ends are whole milliseconds, so an instant compares with them
 * as it does in full; rounded it would not. PostgreSQL rounds, and refuses some years and offsets.
 * @returns undefined for a text that is no instant
 */
export function truncateInstant(text: string): string | undefined {
  const [, date = '', time, second, fraction = '', offset = ''] = INSTANT.exec(text) ?? [];
  const day = Date.parse(`${date}T00:00Z`);
  // Date.parse takes the 30th of February for a day in March.
  if (Number.isNaN(day) || !new Date(day).toISOString().startsWith(date)) return undefined;
  // A leap second has no place of its own in Unix time: it is the first second of the next day.
  const [whole, leap] = second === '60' ? ['59', 1_000] : [second, 0];
  const milliseconds = Date.parse(`${date}T${time}${whole}${fraction.slice(0, 4)}${offset.toUpperCase()}`) + leap;
  return new Date(Math.min(Math.max(milliseconds, EARLIEST), LATEST)).toISOString();
}
