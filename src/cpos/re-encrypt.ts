import { type Audited, audited } from '../audit/audit';
import { type Keyed, reEncrypt, type SealedColumn } from '../audit/re-encrypt';
import { rows } from '../db/query';

const OUTBOUND_TOKENS: SealedColumn = {
  select: `
    select id, outbound_token as bytes, outbound_key_id as "keyId" from cpos
    where outbound_key_id = any($1) and outbound_key_id <> $2`,
  update: `
    with changed as (
      update cpos set outbound_token = $4, outbound_key_id = $5 where id = $3 and outbound_token = $6 returning *
    ), ${audited('cpo.reseal', `jsonb_build_object('name', name)`)}
    select id from changed`,
  ownerOf: (id) => id,
};

/** Re-encrypts every outbound token under the current key, and returns their number. Idempotent. */
export const reEncryptTokens = (ctx: Audited & Keyed): Promise<number> => reEncrypt(ctx, OUTBOUND_TOKENS);

/** Returns the CPOs whose outbound token cannot be decrypted with a known key, so that they cannot be called. */
export function undecryptable({ db, keys }: Keyed): Promise<{ id: string; name: string }[]> {
  return rows(db, `select id, name from cpos where outbound_key_id <> all($1) order by id`, [
    keys.sealing.map(({ id }) => id),
  ]);
}
