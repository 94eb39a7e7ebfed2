import { createHash, createHmac, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config';

export type SealingKey = { readonly id: string; readonly key: KeyObject };

/**
 * The keys derived from SECRET_KEY and SECRET_KEY_PREVIOUS, separate for each purpose. The current key comes first.
 * They are key objects: from bytes, Node 24 makes a new one for each hash, which costs four times as much as the hash.
 */
export type Keys = {
  /** Keys for the hashes of pairing codes. */
  readonly pairingCode: readonly KeyObject[];
  /** Keys for the hashes of Idempotency-Keys, which are stored for 24 hours. */
  readonly idempotency: readonly KeyObject[];
  /** Keys for the hashes of users and uids in rows that must be found again but must not identify them. */
  readonly subject: readonly KeyObject[];
  /** Keys for the tokens that bind forms of pages to a session. */
  readonly form: readonly KeyObject[];
  /** Keys for the encryption of secrets. */
  readonly sealing: readonly SealingKey[];
};

/**
 * Derives one key for each purpose (HKDF, RFC 5869), so that a value made for one purpose is not valid for another.
 * @param previous the secret before a rotation; values hashed or encrypted with it stay valid
 */
export function deriveKeys(secret: string, previous?: string): Keys {
  const derive = (from: string, purpose: string) =>
    createSecretKey(Buffer.from(hkdfSync('sha256', from, '', `scsp-pairing ${purpose}`, 32)));
  const secrets = previous === undefined ? [secret] : [secret, previous];
  const keys = (purpose: string) => secrets.map((from) => derive(from, purpose));
  return {
    pairingCode: keys('pairing code'),
    idempotency: keys('idempotency'),
    subject: keys('subject'),
    form: keys('form'),
    sealing: keys('outbound token').map((key) => {
      return { id: createHash('sha256').update(key.export()).digest('hex').slice(0, 16), key };
    }),
  };
}

/** Returns SECRET_KEY or, if it is not set, the key in `DATA_DIR/secret-key`, which is generated on first use. */
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
 * Hashes the id of a user, the uid of a station or the address of a client (HMAC-SHA-256), for rows that must not hold it: limits
 * and audit entries. The hashes change when SECRET_KEY is rotated.
 */
export function hashSubject(keys: Keys, kind: 'user' | 'uid' | 'address', id: string): Buffer {
  const [current] = subjectHashes(keys, kind, id);
  if (current === undefined) throw new TypeError('no subject key');
  return current;
}

/** Returns the hashes of a user, uid or address under every known key, the current one first. */
export function subjectHashes(keys: Keys, kind: 'user' | 'uid' | 'address', id: string): Buffer[] {
  return keys.subject.map((key) => createHmac('sha256', key).update(`${kind} ${id}`).digest());
}
