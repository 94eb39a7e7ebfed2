import type { EntityManager } from 'typeorm';
import { type Audited, audited, auditParameters } from '../audit/audit';
import type { Context } from '../context';
import type { Keys } from '../crypto/keys';
import type { Random } from '../crypto/random';
import { type Sealed, seal, unseal } from '../crypto/sealed';
import { rows, transaction } from '../db/query';
import { Problem } from '../problems';
import { type Owned, requireId } from './owned';
import { newWebhookSecret } from './signature';

/** The maximum number of secrets that sign a delivery, the newest included. */
const SIGNING_SECRETS = 3;

/** Returns the owner of a secret, which is authenticated with it. */
export const secretOwner = (id: string): string => `webhook secret ${id}`;

/** A new secret: shown once, and stored encrypted. */
export type NewSecret = { readonly id: string; readonly secret: string; readonly sealed: Sealed };

/** Creates a secret. Nothing is stored. */
export function createSecret({ keys, random }: { keys: Keys; random: Random }): NewSecret {
  const id = random.uuid();
  const secret = newWebhookSecret(random);
  return { id, secret, sealed: seal(keys, secret, secretOwner(id)) };
}

/** An encrypted secret in JSON. */
export type StoredSecret = { readonly id: string; readonly bytes: string; readonly keyId: string };

/**
 * Returns an expression for the valid secrets of an endpoint, the newest first.
 * @param endpointId an SQL expression
 */
export const validSecrets = (endpointId: string) => `(
  select json_agg(json_build_object('id', s.id, 'bytes', encode(s.secret, 'base64'), 'keyId', s.key_id)
    order by s.created_at desc, s.id desc)
  from webhook_secrets s where s.endpoint_id = ${endpointId} and (s.expires_at is null or s.expires_at > now()))`;

/**
 * Decrypts secrets.
 * @throws Error when one is encrypted with an unknown key
 */
export const openSecrets = (keys: Keys, secrets: readonly StoredSecret[]): string[] =>
  secrets.map(({ id, bytes, keyId }) => unseal(keys, { bytes: Buffer.from(bytes, 'base64'), keyId }, secretOwner(id)));

const LOCK = `
select id from webhook_endpoints where id = $1 and app_name = $2 and deleted_at is null for no key update`;

const ROTATE = `
with older as (
  select id, row_number() over (order by created_at desc, id desc) as nth
  from webhook_secrets where endpoint_id = $3 and (expires_at is null or expires_at > now())
), ended as (
  update webhook_secrets s
  set expires_at = case when o.nth < ${SIGNING_SECRETS}
    then least(s.expires_at, now() + make_interval(hours => $4)) else now() end
  from older o where s.id = o.id
), stored as (
  insert into webhook_secrets (id, endpoint_id, secret, key_id, created_at)
  values ($5, $3, $6, $7, clock_timestamp())
), changed as (
  select id, app_name from webhook_endpoints where id = $3
), ${audited('webhook.rotate-secret', `jsonb_build_object('app', app_name, 'overlap_hours', $4::int)`)}
select now() + make_interval(hours => $4) as "olderExpireAt" from changed`;

export type RotatedSecret = { readonly secret: string; readonly olderExpireAt: Date };

/**
 * Creates a new secret. Every older one expires after the overlap at the latest.
 * @throws Problem `not-found`
 */
export function rotateSecret(ctx: Context & Audited, { id, app }: Owned, overlapHours: number): Promise<RotatedSecret> {
  requireId(id);
  const work = async (tx: EntityManager) => {
    // The next statement then sees the secrets of a concurrent rotation.
    if ((await rows(tx, LOCK, [id, app])).length === 0) throw new Problem('not-found');
    const created = createSecret(ctx);
    const [rotated] = await rows<{ olderExpireAt: Date }>(tx, ROTATE, [
      ...auditParameters(ctx),
      id,
      overlapHours,
      created.id,
      created.sealed.bytes,
      created.sealed.keyId,
    ]);
    if (rotated === undefined) throw new TypeError('a locked endpoint was not found');
    return { secret: created.secret, olderExpireAt: rotated.olderExpireAt };
  };
  return transaction(ctx.db, work, 'READ COMMITTED');
}
