/** Returns SQL for the least UUIDv7 that can be created at an instant, which is an SQL expression. */
export const uuidAt = (instant: string) =>
  `(lpad(to_hex(floor(extract(epoch from ${instant}) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid`;
