import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  randomInt,
  randomUUID,
} from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { v7 } from 'uuid';
import type { Config } from '../config';
import type { Chance, Keys, SealingKey } from '../context';

/** Chance from the operating system's cryptographic source. */
export const chance: Chance = {
  bytes: randomBytes,
  digits: (count) => Array.from({ length: count }, () => randomInt(10)).join(''),
  uuid: () => v7(),
  requestId: () => randomUUID(),
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

export type Sealed = { readonly bytes: Buffer; readonly keyId: string };

/** Encrypts (AES-256-GCM: nonce, tag, text) under the current key; `owner` keeps it from being moved to another row. */
export function seal(keys: Keys, text: string, owner: string): Sealed {
  const [current] = keys.sealing;
  if (current === undefined) throw new TypeError('no sealing key');
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', current.key, nonce).setAAD(Buffer.from(owner));
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return { bytes: Buffer.concat([nonce, cipher.getAuthTag(), body]), keyId: current.id };
}

/**
 * Decrypts what `seal` made, under whichever known key it was.
 * @throws Error when its key is not known any more, or it was changed
 */
export function unseal(keys: Keys, sealed: Sealed, owner: string): string {
  const known: SealingKey | undefined = keys.sealing.find(({ id }) => id === sealed.keyId);
  if (known === undefined)
    throw new Error(
      `what is sealed for ${owner} needs the key ${sealed.keyId}, which neither SECRET_KEY nor SECRET_KEY_PREVIOUS makes`,
    );
  const decipher = createDecipheriv('aes-256-gcm', known.key, sealed.bytes.subarray(0, 12)).setAAD(Buffer.from(owner));
  decipher.setAuthTag(sealed.bytes.subarray(12, 28));
  return Buffer.concat([decipher.update(sealed.bytes.subarray(28)), decipher.final()]).toString('utf8');
}
