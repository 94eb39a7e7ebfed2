import type { Context } from '../context';
import { rows } from '../db/database';
import type { Caller } from './caller';
import { expiresSoon } from './expiry';
import { hashToken, TOKENS_CHANNEL } from './tokens';

type Live = Caller & { readonly hash: string };

const LIVE = `
select encode(t.hash, 'hex') as hash, t.id as "tokenId", t.role, t.expires_at as "expiresAt",
  case when c.id is not null then
    json_build_object('id', c.id, 'name', c.name, 'suspended', c.suspended_at is not null) end as cpo
from tokens t left join cpos c on c.id = t.cpo_id
where t.revoked_at is null and t.expires_at > now()`;

const WRITE_USES = `
with used as (
  select t.id, u.at from tokens t join unnest($1::uuid[], $2::timestamptz[]) u (id, at) on u.id = t.id
  order by t.id for no key update of t
)
update tokens t set last_used_at = greatest(t.last_used_at, u.at) from used u where t.id = u.id`;

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** So many unknown tokens a second are looked up; a flood beyond it is refused from memory. */
const LOOK_UPS_PER_SECOND = 20;

/**
 * Who may call, kept in memory and read again on every change. While notifications are lost, each token is looked
 * up in the database instead: a revocation is then in force at once, and a flood costs what it has to.
 * Remembers when each was used and writes it down once a minute, and warns once a day of one that expires soon.
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
  #minutely: NodeJS.Timeout | undefined;
  /** By token, when it was used since the last writing, by the database's clock. */
  #used = new Map<string, number>();
  #writing = Promise.resolve();
  /** By token, when it was last said that it expires soon. */
  readonly #warned = new Map<string, number>();

  constructor(readonly ctx: Pick<Context, 'db' | 'bell' | 'log'>) {}

  async start(): Promise<void> {
    this.#unsubscribe = this.ctx.bell.on(TOKENS_CHANNEL, () => void this.#refresh());
    await this.#refresh();
    this.#minutely = setInterval(() => {
      this.#warn();
      void this.#writeUses();
    }, MINUTE_MS).unref();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    clearInterval(this.#minutely);
    await this.#writeUses();
  }

  /** The caller that a token stands for; undefined for one that is unknown, expired or revoked. */
  verify(token: string): Caller | undefined | Promise<Caller | undefined> {
    const hash = hashToken(token);
    if (!this.#current) void this.#refresh();
    if (!this.#current || !this.ctx.bell.ringing) return this.#lookUp(hash);
    const found = this.#live.get(hash.toString('hex'));
    // One issued this very moment may not have rung yet.
    if (found === undefined) return this.#lookUpNew(hash);
    return found.expiresAt.getTime() > this.ctx.bell.now() ? this.#use(found) : undefined;
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

  #use(caller: Caller): Caller {
    this.#used.set(caller.tokenId, this.ctx.bell.now());
    return caller;
  }

  /** One statement for all, one after the other; what cannot be written now goes with the next. */
  #writeUses(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const used = this.#used;
      this.#used = new Map();
      if (used.size === 0) return;
      const times = [...used.values()].map((at) => new Date(at));
      await rows(this.ctx.db, WRITE_USES, [[...used.keys()], times]).catch((error: unknown) => {
        this.#used = new Map([...used, ...this.#used]);
        this.ctx.log.warn('uses of tokens not written yet', { reason: String(error) });
      });
    });
    return this.#writing;
  }

  #warn(): void {
    const now = this.ctx.bell.now();
    for (const { tokenId, role, cpo, expiresAt } of this.#live.values()) {
      if (!expiresSoon(expiresAt, now) || now - (this.#warned.get(tokenId) ?? -Infinity) < DAY_MS) continue;
      this.#warned.set(tokenId, now);
      const fields = { token_id: tokenId, role, cpo_id: cpo?.id, expires_at: expiresAt.toISOString() };
      this.ctx.log.warn('token expires soon', fields);
    }
  }

  #mayLookUp(): boolean {
    if (this.#lookUpsLeft() === 0) return false;
    this.#lookUps += 1;
    return true;
  }

  #lookUpsLeft(): number {
    const now = performance.now();
    if (now - this.#second >= 1000) {
      this.#second = now;
      this.#lookUps = 0;
    }
    return LOOK_UPS_PER_SECOND - this.#lookUps;
  }

  async #lookUp(hash: Buffer): Promise<Caller | undefined> {
    const [found] = await rows<Live>(this.ctx.db, `${LIVE} and t.hash = $1`, [hash]);
    return found && this.#use(found);
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
        this.#warn();
      } catch {
        this.#current = false;
        this.ctx.log.warn('tokens could not be read, looking each up');
      }
    }
  }
}
