import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Keys } from './keys';

export type Sealed = { readonly bytes: Buffer; readonly keyId: string };

/**
 * Encrypts a text with AES-256-GCM under the current key; the bytes are nonce, tag and ciphertext. `owner` is authenticated
 * (AAD), so that the result is not valid in another row.
 */
export function seal(keys: Keys, text: string, owner: string): Sealed {
  const [current] = keys.sealing;
  if (current === undefined) throw new TypeError('no sealing key');
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', current.key, nonce).setAAD(Buffer.from(owner));
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return { bytes: Buffer.concat([nonce, cipher.getAuthTag(), body]), keyId: current.id };
}

/**
 * Decrypts the result of `seal` with the key that it was encrypted with.
 * @throws Error when that key is unknown, or the bytes or the owner are not authentic
 */
export function unseal(keys: Keys, sealed: Sealed, owner: string): string {
  const known = keys.sealing.find(({ id }) => id === sealed.keyId);
  if (known === undefined)
    throw new Error(
      `the secret of ${owner} is encrypted with the key ${sealed.keyId}, which is derived neither from SECRET_KEY nor from SECRET_KEY_PREVIOUS`,
    );
  const decipher = createDecipheriv('aes-256-gcm', known.key, sealed.bytes.subarray(0, 12)).setAAD(Buffer.from(owner));
  decipher.setAuthTag(sealed.bytes.subarray(12, 28));
  return Buffer.concat([decipher.update(sealed.bytes.subarray(28)), decipher.final()]).toString('utf8');
}
