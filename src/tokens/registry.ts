import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';
import type { Caller } from './caller';
import { expiresSoon } from './expiry';
import { REVOKED_MESSAGE } from './replay';
import { hashToken, TOKENS_CHANNEL } from './tokens';

const LIVE = `
select encode(t.hash, 'hex') as hash, t.id as "tokenId", t.role, t.app_name as app, t.expires_at as "expiresAt",
  case when c.id is not null then
    json_build_object('id', c.id, 'name', c.name, 'suspended', c.suspended_at is not null, 'sandbox', c.sandbox) end as cpo
from tokens t left join cpos c on c.id = t.cpo_id
where t.revoked_at is null and t.expires_at > now()`;

const UPDATE_LAST_USED = `
with used as (
  select t.id, u.at from tokens t join unnest($1::uuid[], $2::timestamptz[]) u (id, at) on u.id = t.id
  order by t.id for no key update of t
)
update tokens t set last_used_at = greatest(t.last_used_at, u.at) from used u where t.id = u.id`;

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** The maximum number of look-ups of unknown tokens a second. Beyond it they are rejected without a query. */
const UNKNOWN_PER_SECOND = 20;
/** Requests with the same token share a look-up that started within this time. A revocation takes effect within 1 s. */
const SHARED_FOR_MS = 200;
/** How long a notification takes to arrive, usually. */
const NOTIFIED_WITHIN_MS = 50;
/** The maximum number of requests that wait for look-ups. Beyond it they get a 503. */
const MAX_WAITING = 1_024;

/**
 * Caches every live token in memory and reloads all of them on each change. While the listener is disconnected, and until a
 * reload after a change or reconnection has finished, tokens are looked up in the database instead. Also stores once a minute
 * when each token was used, and logs a warning once a day for each token that expires soon.
 */
export class TokenRegistry {
  #live = new Map<string, Caller>();
  #unsubscribe = () => {};
  /** Whether the cache reflects every change that was notified. */
  #current = false;
  #reloading: Promise<void> | undefined;
  #changed = false;
  #second = 0;
  #unknown = 0;
  /** The latest look-up in progress, by token hash. */
  readonly #lookUps = new Map<string, { began: number; found: Promise<Caller | undefined> }>();
  #waiting = 0;
  /** Emits the hash of a token that is no longer allowed. */
  readonly #revoked = new EventEmitter().setMaxListeners(0);
  #minutely: NodeJS.Timeout | undefined;
  /** The last use of each token since the last write, by token id, in the database's time. */
  #used = new Map<string, number>();
  #writing = Promise.resolve();
  /** The last expiry warning, by token id. */
  readonly #warned = new Map<string, number>();

  constructor(readonly ctx: Pick<Context, 'db' | 'listener' | 'log'>) {}

  async start(): Promise<void> {
    this.#unsubscribe = this.ctx.listener.on(TOKENS_CHANNEL, () => {
      this.#current = false;
      void this.#reload();
    });
    await this.#reload();
    this.#minutely = setInterval(() => {
      this.#warn();
      void this.#writeLastUsed();
    }, MINUTE_MS).unref();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    clearInterval(this.#minutely);
    await this.#writeLastUsed();
  }

  /**
   * Returns the caller that a token authenticates, or undefined if the token is unknown, expired or revoked.
   * @throws Problem `unavailable`
   */
  verify(token: string): Caller | undefined | Promise<Caller | undefined> {
    return this.#find(hashToken(token).toString('hex'));
  }

  /** Returns the caller of a token as far as this process knows it, without a look-up: not for authentication. */
  known(token: string): Caller | undefined {
    return this.#live.get(hashToken(token).toString('hex'));
  }

  /** Returns the current state of a caller, as `verify` would. */
  refresh({ hash }: Caller): Caller | undefined | Promise<Caller | undefined> {
    return this.#find(hash);
  }

  /**
   * Calls `listener` when a reload shows that the caller's token was revoked or its CPO suspended. Returns the
   * unsubscribe function.
   */
  onRevoked({ hash }: Caller, listener: () => void): () => void {
    this.#revoked.on(hash, listener);
    return () => this.#revoked.off(hash, listener);
  }

  /** Returns whether the cache is known to contain every revocation. */
  #isTrusted(): boolean {
    return this.#current && this.ctx.listener.connected;
  }

  #find(hash: string): Caller | undefined | Promise<Caller | undefined> {
    const known = this.#live.get(hash);
    if (known !== undefined && this.#isTrusted()) return this.#unexpired(hash);
    if (!this.#current && this.#reloading === undefined) void this.#reload();

    const inProgress = this.#lookUps.get(hash);
    if (inProgress !== undefined && performance.now() - inProgress.began < SHARED_FOR_MS)
      return this.#await(inProgress.found);
    if (known === undefined && !this.#mayLookUpUnknown()) {
      // While the listener is connected the cache is at most a moment behind. Otherwise it may lack a valid token.
      if (!this.ctx.listener.connected) throw new Problem('unavailable');
      const notified = this.#reloading ?? sleep(NOTIFIED_WITHIN_MS).then(() => this.#reloading);
      return this.#await(notified.then(() => this.#unexpired(hash)));
    }
    return this.#await(this.#lookUp(hash));
  }

  #unexpired(hash: string): Caller | undefined {
    const known = this.#live.get(hash);
    return known && known.expiresAt.getTime() > this.ctx.listener.now() ? this.#use(known) : undefined;
  }

  async #await(found: Promise<Caller | undefined>): Promise<Caller | undefined> {
    if (this.#waiting >= MAX_WAITING) throw new Problem('unavailable');
    this.#waiting += 1;
    try {
      return await found;
    } finally {
      this.#waiting -= 1;
    }
  }

  #lookUp(hash: string): Promise<Caller | undefined> {
    const lookUp = {
      began: performance.now(),
      found: rows<Caller>(this.ctx.db, `${LIVE} and t.hash = $1`, [Buffer.from(hash, 'hex')])
        .then(([caller]) => caller && this.#use(caller))
        .finally(() => {
          if (this.#lookUps.get(hash) === lookUp) this.#lookUps.delete(hash);
        }),
    };
    this.#lookUps.set(hash, lookUp);
    return lookUp.found;
  }

  #use(caller: Caller): Caller {
    this.#used.set(caller.tokenId, this.ctx.listener.now());
    return caller;
  }

  /** Writes the last uses in one statement, one write at a time. After a failure they are part of the next write. */
  #writeLastUsed(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const used = this.#used;
      this.#used = new Map();
      if (used.size === 0) return;
      const times = [...used.values()].map((at) => new Date(at));
      await rows(this.ctx.db, UPDATE_LAST_USED, [[...used.keys()], times]).catch((error: unknown) => {
        this.#used = new Map([...used, ...this.#used]);
        this.ctx.log.warn('uses of tokens not written yet', { reason: String(error) });
      });
    });
    return this.#writing;
  }

  #warn(): void {
    const now = this.ctx.listener.now();
    for (const { tokenId, role, cpo, expiresAt } of this.#live.values()) {
      // Tokens of self-service CPOs never last longer.
      if (cpo?.sandbox || !expiresSoon(expiresAt, now) || now - (this.#warned.get(tokenId) ?? -Infinity) < DAY_MS)
        continue;
      this.#warned.set(tokenId, now);
      const fields = { token_id: tokenId, role, cpo_id: cpo?.id, expires_at: expiresAt.toISOString() };
      this.ctx.log.warn('token expires soon', fields);
    }
  }

  #mayLookUpUnknown(): boolean {
    if (this.#unknownRemaining() === 0) return false;
    this.#unknown += 1;
    return true;
  }

  #unknownRemaining(): number {
    const now = performance.now();
    if (now - this.#second >= 1000) {
      this.#second = now;
      this.#unknown = 0;
    }
    return UNKNOWN_PER_SECOND - this.#unknown;
  }

  /** Reloads the tokens, one reload at a time. A change during a reload causes another one. */
  #reload(): Promise<void> {
    this.#changed = true;
    this.#reloading ??= this.#readAll().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #readAll(): Promise<void> {
    while (this.#changed) {
      this.#changed = false;
      try {
        const live = await rows<Caller>(this.ctx.db, LIVE);
        const before = this.#live;
        this.#live = new Map(live.map((caller) => [caller.hash, caller]));
        this.#logRevoked(before.values());
        // The rows may lack a change that was notified while they were read.
        this.#current = !this.#changed;
        this.#notifyRevoked();
        this.#warn();
      } catch {
        this.#current = false;
        this.ctx.log.warn('tokens could not be read, looking each up');
      }
    }
  }

  /** Logs which tokens have ended before they expired: after a restore, `scsp token revoke --replay` reads it. */
  #logRevoked(before: Iterable<Caller>): void {
    const now = this.ctx.listener.now();
    for (const { hash, tokenId, role, cpo, expiresAt } of before)
      if (!this.#live.has(hash) && expiresAt.getTime() > now)
        this.ctx.log.info(REVOKED_MESSAGE, { token_id: tokenId, role, cpo_id: cpo?.id });
  }

  #notifyRevoked(): void {
    for (const hash of this.#revoked.eventNames()) {
      const caller = this.#live.get(String(hash));
      if (caller === undefined || caller.cpo?.suspended) this.#revoked.emit(hash);
    }
  }
}
