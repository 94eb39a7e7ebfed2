import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { v7 } from 'uuid';

/** A source of random values; tests may pass their own. */
export type Random = {
  bytes(count: number): Buffer;
  /** A string of so many decimal digits, each string as likely as any other. */
  digits(count: number): string;
  /** A UUIDv7, for what is stored. */
  uuid(): string;
  /** A UUIDv4, which costs less and need not be in order. */
  requestId(): string;
};

/** Random values from the operating system's cryptographic source. */
export const random: Random = {
  bytes: randomBytes,
  digits: (count) => Array.from({ length: count }, () => randomInt(10)).join(''),
  uuid: () => v7(),
  requestId: () => randomUUID(),
};
