import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { v7 } from 'uuid';

/** A source of random values; tests may pass their own. */
export type Random = {
  bytes(count: number): Buffer;
  /** Returns a string of `count` uniformly distributed decimal digits. */
  digits(count: number): string;
  /** Returns a UUIDv7, for stored rows. */
  uuid(): string;
  /** Returns a UUIDv4, which is cheaper and need not be ordered. */
  requestId(): string;
};

/** Returns when a UUIDv7 was created, in ms since the epoch (RFC 9562); undefined for another UUID. */
export function createdAt(uuid: string): number | undefined {
  return uuid[14] === '7' ? Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16) : undefined;
}

/** Random values from Node's cryptographically secure generator. */
export const random: Random = {
  bytes: randomBytes,
  digits: (count) => Array.from({ length: count }, () => randomInt(10)).join(''),
  uuid: () => v7(),
  requestId: () => randomUUID(),
};
