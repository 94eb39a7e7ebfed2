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

/** Random values from Node's cryptographically secure generator. */
export const random: Random = {
  bytes: randomBytes,
  digits: (count) => Array.from({ length: count }, () => randomInt(10)).join(''),
  uuid: () => v7(),
  requestId: () => randomUUID(),
};
