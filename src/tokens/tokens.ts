import { createHash } from 'node:crypto';
import { validate as isUuid } from 'uuid';
import type { Context } from '../context';
import { type Database, rows, violates } from '../db/database';
import type { Caller } from './caller';
import type { Role } from './table';

/** Rings when any token or CPO changes. */
export const TOKENS_CHANNEL = 'scsp_tokens';
const LIFE_DAYS = 365;

export type IssuedToken = { readonly id: string; readonly token: string; readonly expiresAt: Date };
export type TokenOwner =
  | { readonly role: 'cpo'; readonly cpoId: string }
  | { readonly role: 'app'; readonly appName: string };
/** What an operator sees of a token. */
export type TokenSummary = {
  id: string;
  role: Role;
  cpoId: string | null;
  /** The name of the CPO or app. */
  owner: string;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
};

/** A token is 256 random bits, so its plain SHA-256 cannot be reversed by trying. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/**
 * Makes a token; it is shown here and never again.
 * @throws RangeError for an unknown CPO
 */
export async function issueToken(ctx: Pick<Context, 'db' | 'chance'>, owner: TokenOwner): Promise<IssuedToken> {
  const token = `scsp_${owner.role}_${ctx.chance.bytes(32).toString('base64url')}`;
  const id = ctx.chance.uuid();
  const cpoId = owner.role === 'cpo' ? owner.cpoId : null;
  const appName = owner.role === 'app' ? owner.appName : null;
  if (cpoId !== null && !isUuid(cpoId)) throw new RangeError(`no CPO has the id ${cpoId}`);
  const [stored] = await rows<{ expiresAt: Date }>(
    ctx.db,
    `insert into tokens (id, role, cpo_id, app_name, hash, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(days => $6)) returning expires_at as "expiresAt"`,
    [id, owner.role, cpoId, appName, hashToken(token), LIFE_DAYS],
  ).catch((error: unknown) => {
    if (violates(error, 'tokens_cpo_id_fkey')) throw new RangeError(`no CPO has the id ${cpoId}`);
    throw error;
  });
  if (stored === undefined) throw new TypeError('an insert returned no row');
  return { id, token, expiresAt: stored.expiresAt };
}

/**
 * Revokes a token, in force on every replica within a second; again is the same.
 * @throws RangeError for an unknown id
 */
export async function revokeToken(db: Database, id: string): Promise<{ id: string; revokedAt: Date }> {
  const [revoked] = isUuid(id)
    ? await rows<{ id: string; revokedAt: Date }>(
        db,
        `with revoked as (
           update tokens set revoked_at = coalesce(revoked_at, now()) where id = $1
           returning id, revoked_at as "revokedAt"
         ) select * from revoked`,
        [id],
      )
    : [];
  if (revoked === undefined) throw new RangeError(`no token has the id ${id}`);
  return revoked;
}

export function listTokens(db: Database): Promise<TokenSummary[]> {
  return rows(
    db,
    `select t.id, t.role, t.cpo_id as "cpoId", coalesce(c.name, t.app_name) as owner, t.created_at as "createdAt",
       t.expires_at as "expiresAt", t.revoked_at as "revokedAt"
     from tokens t left join cpos c on c.id = t.cpo_id order by t.id`,
  );
}

type Live = Caller & { readonly hash: string };

const LIVE = `
select encode(t.hash, 'hex') as hash, t.id as "tokenId", t.role, t.expires_at as "expiresAt",
  case when c.id is not null then
    json_build_object('id', c.id, 'name', c.name, 'suspended', c.suspended_at is not null) end as cpo
from tokens t left join cpos c on c.id = t.cpo_id
where t.revoked_at is null and t.expires_at > now()`;

/** So many unknown tokens a second are looked up; a flood beyond it is refused from memory. */
const LOOK_UPS_PER_SECOND = 20;

/**
 * Who may call, kept in memory and read again on every change. While notifications are lost, each token is looked
 * up in the database instead: a revocation is then in force at once, and a flood costs what it has to.
 */
export class TokenRegistry {
  #live = new Map<string, Live>();
  #unsubscribe = () => {};
  #current = false;
  #reading: Promise<void> | undefined;
  #stale = false;
  #second = 0;
  #lookUps = 0;
  readonly #lookingUp = new Map<string, Promise<Caller | undefined>>();

  constructor(readonly ctx: Pick<Context, 'db' | 'bell' | 'log'>) {}

  async start(): Promise<void> {
    this.#unsubscribe = this.ctx.bell.on(TOKENS_CHANNEL, () => void this.#refresh());
    await this.#refresh();
  }

  stop(): void {
    this.#unsubscribe();
  }

  /** The caller that a token stands for; undefined for one that is unknown, expired or revoked. */
  verify(token: string): Caller | undefined | Promise<Caller | undefined> {
    const hash = hashToken(token);
    if (!this.#current) void this.#refresh();
    if (!this.#current || !this.ctx.bell.ringing) return this.#lookUp(hash);
    const found = this.#live.get(hash.toString('hex'));
    // One issued this very moment may not have rung yet.
    if (found === undefined) return this.#lookUpNew(hash);
    return found.expiresAt.getTime() > this.ctx.bell.now() ? found : undefined;
  }

  /** Requests with one token share a look-up. */
  #lookUpNew(hash: Buffer): undefined | Promise<Caller | undefined> {
    const key = hash.toString('hex');
    const under = this.#lookingUp.get(key);
    if (under !== undefined) return under;
    if (!this.#mayLookUp()) return undefined;
    const found = this.#lookUp(hash).finally(() => this.#lookingUp.delete(key));
    this.#lookingUp.set(key, found);
    return found;
  }

  #mayLookUp(): boolean {
    const now = performance.now();
    if (now - this.#second >= 1000) {
      this.#second = now;
      this.#lookUps = 0;
    }
    this.#lookUps += 1;
    return this.#lookUps <= LOOK_UPS_PER_SECOND;
  }

  async #lookUp(hash: Buffer): Promise<Caller | undefined> {
    const [found] = await rows<Live>(this.ctx.db, `${LIVE} and t.hash = $1`, [hash]);
    return found;
  }

  /** One reading at a time; a change during one makes it read once more. */
  #refresh(): Promise<void> {
    this.#stale = true;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    while (this.#stale) {
      this.#stale = false;
      try {
        const live = await rows<Live>(this.ctx.db, LIVE);
        this.#live = new Map(live.map((caller) => [caller.hash, caller]));
        this.#current = true;
      } catch {
        this.#current = false;
        this.ctx.log.warn('tokens could not be read, looking each up');
      }
    }
  }
}
