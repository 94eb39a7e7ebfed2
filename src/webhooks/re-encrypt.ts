import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import { seal, unseal } from '../crypto/sealed';
import { rows } from '../db/query';
import { secretOwner } from './secrets';

type Keyed = Pick<Context, 'db' | 'keys'>;

const VALID = '(expires_at is null or expires_at > now())';

const RE_ENCRYPT = `
with re_encrypted as (
  update webhook_secrets set secret = $4, key_id = $5 where id = $3 and secret = $6 returning endpoint_id
), changed as (
  select w.id, w.app_name from re_encrypted r join webhook_endpoints w on w.id = r.endpoint_id
), ${audited('webhook.re-encrypt', `jsonb_build_object('app', app_name)`)}
select id from changed`;

/**
 * Re-encrypts every valid webhook secret under the current key. Idempotent.
 * @returns the number of secrets that were re-encrypted
 */
export async function reEncryptSecrets(ctx: Audited & Keyed): Promise<number> {
  const current = ctx.keys.sealing[0]?.id;
  const known = ctx.keys.sealing.map(({ id }) => id);
  let count = 0;
  for (;;) {
    const old = await rows<{ id: string; bytes: Buffer; keyId: string }>(
      ctx.db,
      `select id, secret as bytes, key_id as "keyId" from webhook_secrets
       where key_id = any($1) and key_id <> $2 and ${VALID}`,
      [known, current],
    );
    if (old.length === 0) return count;
    for (const { id, ...sealed } of old) {
      const sealedAnew = seal(ctx.keys, unseal(ctx.keys, sealed, secretOwner(id)), secretOwner(id));
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

/** Returns the endpoints with a valid secret that cannot be decrypted with a known key, so that nothing can be sent to them. */
export function undecryptableEndpoints({ db, keys }: Keyed): Promise<{ id: string; appName: string }[]> {
  return rows(
    db,
    `select distinct w.id, w.app_name as "appName" from webhook_endpoints w join webhook_secrets s on s.endpoint_id = w.id
     where s.key_id <> all($1) and ${VALID} order by w.id`,
    [keys.sealing.map(({ id }) => id)],
  );
}
