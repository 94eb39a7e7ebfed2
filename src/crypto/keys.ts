import { createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config';

export type SealingKey = { readonly id: string; readonly key: Buffer };

/** Keys derived from SECRET_KEY, one for each purpose. */
export type Keys = {
  /** The current one first, then those that codes still alive may be hashed with. */
  readonly pairingCode: readonly Buffer[];
  /** The current one first, then that of the keys that were used with it in the last 24 hours. */
  readonly idempotency: readonly Buffer[];
  /** Of users and uids, where a row must be found again but must not say whose it is; the current one first. */
  readonly subject: readonly Buffer[];
  /** The current one first, then those that older secrets were sealed with. */
  readonly sealing: readonly SealingKey[];
};

/**
 * One key a purpose (HKDF, RFC 5869), so that none can stand in for another.
 * @param previous the secret before a rotation: what was hashed or sealed with it still counts
 */
export function deriveKeys(secret: string, previous?: string): Keys {
  const derive = (from: string, purpose: string) =>
    Buffer.from(hkdfSync('sha256', from, '', `scsp-pairing ${purpose}`, 32));
  const secrets = previous === undefined ? [secret] : [secret, previous];
  return {
    pairingCode: secrets.map((from) => derive(from, 'pairing code')),
    idempotency: secrets.map((from) => derive(from, 'idempotency')),
    subject: secrets.map((from) => derive(from, 'subject')),
    sealing: secrets.map((from) => {
      const key = derive(from, 'outbound token');
      return { id: createHash('sha256').update(key).digest('hex').slice(0, 16), key };
    }),
  };
}

/** SECRET_KEY, or outside production the one kept in `DATA_DIR/secret-key`, made on first use. */
export function secretKey(config: Config): string {
  if (config.secretKey !== undefined) return config.secretKey;
  const file = join(config.dataDir, 'secret-key');
  mkdirSync(config.dataDir, { recursive: true });
  try {
    writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(file, 'utf8');
}

/**
 * Hashes the id of a user or the uid of a station under a key of its own (HMAC-SHA-256), for rows that outlive an
 * erasure: limits, and the proof that it was done. A rotation of SECRET_KEY starts them anew.
 */
export function hashSubject(keys: Keys, kind: 'user' | 'uid', id: string): Buffer {
  const [current] = subjectHashes(keys, kind, id);
  if (current === undefined) throw new TypeError('no subject key');
  return current;
}

/** The hashes of a user or uid under every known key, the current one first. */
export function subjectHashes(keys: Keys, kind: 'user' | 'uid', id: string): Buffer[] {
  return keys.subject.map((key) => createHmac('sha256', key).update(`${kind} ${id}`).digest());
}
