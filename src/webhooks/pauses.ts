import type { Random } from '../crypto/random';

const MINUTE = 60;
const HOUR = 60 * MINUTE;

/** The pauses after failed attempts, in seconds: 76 h in all. After the last one an event has failed for good. */
export const PAUSES = [
  5,
  30,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
] as const;

const JITTER = 0.2;
const LONGEST_RETRY_AFTER = 24 * HOUR;

/**
 * Returns how long to wait after a failed attempt, in seconds, or undefined after the last one.
 * @param attempt from 1
 * @param retryAfter the `Retry-After` of the response, which is honoured up to 24 h when it is longer than the pause
 */
export function pauseSeconds(random: Random, attempt: number, retryAfter: string | undefined): number | undefined {
  const pause = PAUSES[attempt - 1];
  if (pause === undefined) return undefined;
  const factor = 1 - JITTER + 2 * JITTER * (random.bytes(4).readUInt32BE() / 0xffff_ffff);
  return Math.max(pause * factor, Math.min(retryAfterSeconds(retryAfter), LONGEST_RETRY_AFTER));
}

/** Parses `Retry-After` (RFC 9110, section 10.2.3): seconds or a date. 0 if it is absent or invalid. */
export function retryAfterSeconds(value: string | undefined, now = Date.now()): number {
  if (value === undefined) return 0;
  if (/^\d+$/.test(value)) return Number(value);
  const date = /^[A-Z][a-z]{2},? /.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? 0 : Math.max(0, (date - now) / 1_000);
}
