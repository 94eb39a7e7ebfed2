import { type Audited, audited } from '../audit/audit';
import { type Keyed, reEncrypt, type SealedColumn } from '../audit/re-encrypt';
import { rows } from '../db/query';
import { secretOwner } from './secrets';

const VALID = '(expires_at is null or expires_at > now())';

const SECRETS: SealedColumn = {
  select: `
    select id, secret as bytes, key_id as "keyId" from webhook_secrets
    where key_id = any($1) and key_id <> $2 and ${VALID}`,
  update: `
    with re_encrypted as (
      update webhook_secrets set secret = $4, key_id = $5 where id = $3 and secret = $6 returning endpoint_id
    ), changed as (
      select w.id, w.app_name from re_encrypted r join webhook_endpoints w on w.id = r.endpoint_id
    ), ${audited('webhook.re-encrypt', `jsonb_build_object('app', app_name)`)}
    select id from changed`,
  ownerOf: secretOwner,
};

/** Re-encrypts every valid webhook secret under the current key, and returns their number. Idempotent. */
export const reEncryptSecrets = (ctx: Audited & Keyed): Promise<number> => reEncrypt(ctx, SECRETS);

/** Returns the endpoints with a valid secret that cannot be decrypted with a known key, so that nothing can be sent to them. */
export function undecryptableEndpoints({ db, keys }: Keyed): Promise<{ id: string; appName: string }[]> {
  return rows(
    db,
    `select distinct w.id, w.app_name as "appName" from webhook_endpoints w join webhook_secrets s on s.endpoint_id = w.id
     where s.key_id <> all($1) and ${VALID} order by w.id`,
    [keys.sealing.map(({ id }) => id)],
  );
}
