import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Keys } from './keys';

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
  const known = keys.sealing.find(({ id }) => id === sealed.keyId);
  if (known === undefined)
    throw new Error(
      `what is sealed for ${owner} needs the key ${sealed.keyId}, which neither SECRET_KEY nor SECRET_KEY_PREVIOUS makes`,
    );
  const decipher = createDecipheriv('aes-256-gcm', known.key, sealed.bytes.subarray(0, 12)).setAAD(Buffer.from(owner));
  decipher.setAuthTag(sealed.bytes.subarray(12, 28));
  return Buffer.concat([decipher.update(sealed.bytes.subarray(28)), decipher.final()]).toString('utf8');
}
