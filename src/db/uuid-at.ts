/**
 * Returns SQL for a lower bound of the UUIDv7s of an instant.
 * @param instant an SQL expression
 */
export const uuidAt = (instant: string) =>
  `(lpad(to_hex(floor(extract(epoch from ${instant}) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid`;
