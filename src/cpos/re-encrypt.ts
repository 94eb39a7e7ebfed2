import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { seal, unseal } from '../crypto/sealed';
import { rows } from '../db/query';

type Keyed = Pick<Context, 'db' | 'keys'>;

/** Changes nothing if the token has been replaced in the meantime. */
const RE_ENCRYPT = `
with changed as (
  update cpos set outbound_token = $4, outbound_key_id = $5 where id = $3 and outbound_token = $6 returning *
), ${audited('cpo.reseal', `jsonb_build_object('name', name)`)}
select id from changed`;

/**
 * Re-encrypts every outbound token under the current key. Idempotent.
 * @returns the number of tokens that were re-encrypted
 */
export async function reEncryptTokens(ctx: Audited & Keyed): Promise<number> {
  const current = ctx.keys.sealing[0]?.id;
  const known = ctx.keys.sealing.map(({ id }) => id);
  let count = 0;
  for (;;) {
    const old = await rows<{ id: string; bytes: Buffer; keyId: string }>(
      ctx.db,
      `select id, outbound_token as bytes, outbound_key_id as "keyId" from cpos
       where outbound_key_id = any($1) and outbound_key_id <> $2`,
      [known, current],
    );
    if (old.length === 0) return count;
    for (const { id, ...sealed } of old) {
      const sealedAnew = seal(ctx.keys, unseal(ctx.keys, sealed, id), id);
      const changed = await rows(ctx.db, RE_ENCRYPT, [
        ...auditParameters(ctx),
        id,
        sealedAnew.bytes,
        sealedAnew.keyId,
        sealed.bytes,
      ]);
      count += changed.length;
    }
  }
}

/** Returns the CPOs whose outbound token cannot be decrypted with a known key, so that they cannot be called. */
export function undecryptable({ db, keys }: Keyed): Promise<{ id: string; name: string }[]> {
  return rows(db, `select id, name from cpos where outbound_key_id <> all($1) order by id`, [
    keys.sealing.map(({ id }) => id),
  ]);
}
