/** The clocks of replicas, which make the ids, may differ from that of the database, and a transaction takes its time. */
const MARGIN_MS = 60_000;

/** Returns the range of the UUIDv7 that were made between two times, or a minute before or after. */
export const idsBetween = (from: Date, until: Date) => ({
  from_id: firstIdAt(from.getTime() - MARGIN_MS),
  until_id: firstIdAt(until.getTime() + MARGIN_MS),
});

/** Returns the smallest UUIDv7 of a millisecond (RFC 9562, section 5.7). */
function firstIdAt(ms: number): string {
  const time = Math.max(0, ms).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}
