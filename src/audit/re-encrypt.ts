import type { Context } from '../context';
import { seal, unseal } from '../crypto/sealed';
import { rows } from '../db/query';
import { type Audited, auditParameters } from './audit';

export type Keyed = Pick<Context, 'db' | 'keys'>;

/** A column of secrets. */
export type SealedColumn = {
  /** Selects `id`, `bytes` and `keyId` of the secrets under the known keys `$1` other than the current one `$2`. */
  readonly select: string;
  /** Replaces the secret of `$3`, if it still is `$6`, by `$4` under the key `$5`, with its audit entry. Returns the rows. */
  readonly update: string;
  /** Returns the owner that a secret was sealed for. */
  readonly ownerOf: (id: string) => string;
};

/**
 * Re-encrypts every secret of a column under the current key. A secret that is replaced meanwhile is left alone. Idempotent.
 * @returns the number of secrets that were re-encrypted
 */
export async function reEncrypt(ctx: Audited & Keyed, { select, update, ownerOf }: SealedColumn): Promise<number> {
  const current = ctx.keys.sealing[0]?.id;
  const known = ctx.keys.sealing.map(({ id }) => id);
  let count = 0;
  for (;;) {
    const old = await rows<{ id: string; bytes: Buffer; keyId: string }>(ctx.db, select, [known, current]);
    if (old.length === 0) return count;
    for (const { id, ...sealed } of old) {
      const { bytes, keyId } = seal(ctx.keys, unseal(ctx.keys, sealed, ownerOf(id)), ownerOf(id));
      const changed = await rows(ctx.db, update, [...auditParameters(ctx), id, bytes, keyId, sealed.bytes]);
      count += changed.length;
    }
  }
}
