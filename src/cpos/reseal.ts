import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { seal, unseal } from '../crypto/sealed';
import { rows } from '../db/query';
import { OperatorError } from '../problems';

type Keyed = Pick<Context, 'db' | 'keys'>;

/** Only where nobody has set another token in between. */
const RESEAL = `
with changed as (
  update cpos set outbound_token = $4, outbound_key_id = $5 where id = $3 and outbound_token = $6 returning *
), ${audited('cpo.reseal', `jsonb_build_object('name', name)`)}
select id from changed`;

/**
 * Seals every outbound token again under the current key, so that the previous one can be dropped.
 * @returns how many were sealed again; again it is none
 * @throws OperatorError that names the CPOs whose token no known key opens, when the others are done
 */
export async function resealTokens(ctx: Audited & Keyed): Promise<number> {
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
    if (old.length === 0) break;
    for (const { id, ...sealed } of old) {
      const again = seal(ctx.keys, unseal(ctx.keys, sealed, id), id);
      const changed = await rows(ctx.db, RESEAL, [...auditParameters(ctx), id, again.bytes, again.keyId, sealed.bytes]);
      count += changed.length;
    }
  }
  const lost = await unopenable(ctx);
  if (lost.length === 0) return count;
  const names = lost.map(({ name }) => name).join(', ');
  throw new OperatorError(
    `sealed again: ${count}; the tokens of these were sealed with another SECRET_KEY, set it as SECRET_KEY_PREVIOUS: ${names}`,
  );
}

/** CPOs that cannot be called, because no known key opens the token that they gave us. */
export function unopenable({ db, keys }: Keyed): Promise<{ id: string; name: string }[]> {
  return rows(db, `select id, name from cpos where outbound_key_id <> all($1) order by id`, [
    keys.sealing.map(({ id }) => id),
  ]);
}
