import { createHmac } from 'node:crypto';
import type { Random } from '../crypto/random';

const PREFIX = 'whsec_';
const SECRET_BYTES = 32;

/** Creates a secret in the format of Standard Webhooks: `whsec_` and 32 random bytes in base64. */
export const newWebhookSecret = (random: Random): string => PREFIX + random.bytes(SECRET_BYTES).toString('base64');

export type SignedHeaders = Readonly<Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>>;

/**
 * Returns the headers that sign a request body (Standard Webhooks): one `v1` signature for each secret, the first secret first.
 * @param at the time of this attempt, in ms since the epoch
 */
export function signedHeaders(secrets: readonly string[], id: string, at: number, body: string): SignedHeaders {
  const timestamp = String(Math.floor(at / 1_000));
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': secrets.map((secret) => signature(secret, id, timestamp, body)).join(' '),
  };
}

/** Returns one signature: `v1,` and the HMAC-SHA-256 of id, timestamp and body in base64. */
export function signature(secret: string, id: string, timestamp: string, body: string): string {
  const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}
