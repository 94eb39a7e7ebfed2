import { EventEmitter } from 'node:events';
import type { Context } from '../context';
import { rows } from '../db/query';
import { Problem } from '../problems';
import type { Caller } from './caller';
import { expiresSoon } from './expiry';
import { hashToken, TOKENS_CHANNEL } from './tokens';

const LIVE = `
select encode(t.hash, 'hex') as hash, t.id as "tokenId", t.role, t.app_name as app, t.expires_at as "expiresAt",
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
/** So many look-ups of unknown tokens a second; a flood beyond it is refused from memory. */
const UNKNOWN_PER_SECOND = 20;
/** Requests with one token share a look-up that began within this time: a revocation is in force within a second. */
const SHARED_FOR_MS = 200;
/** So many requests wait for look-ups at once, each as long as a statement may take; the next ones get a 503. */
const MOST_WAITING = 1_024;

/**
 * Knows who may call: every live token, in memory, read again on every change. While notifications are lost, and until
 * the tokens have been read again after a change or a reconnection, each token is looked up in the database instead.
 * Remembers when each was used and writes it down once a minute, and warns once a day of one that expires soon.
 */
export class TokenRegistry {
  #live = new Map<string, Caller>();
  #unsubscribe = () => {};
  /** Whether nothing has changed since the tokens were read. */
  #current = false;
  #reading: Promise<void> | undefined;
  #stale = false;
  #second = 0;
  #unknown = 0;
  /** The latest look-up of a token that is under way. */
  readonly #lookUps = new Map<string, { began: number; found: Promise<Caller | undefined> }>();
  #waiting = 0;
  /** By token, who wants to hear that it is not allowed any more. */
  readonly #refused = new EventEmitter().setMaxListeners(0);
  #minutely: NodeJS.Timeout | undefined;
  /** By token, when it was used since the last writing, by the database's clock. */
  #used = new Map<string, number>();
  #writing = Promise.resolve();
  /** By token, when it was last said that it expires soon. */
  readonly #warned = new Map<string, number>();

  constructor(readonly ctx: Pick<Context, 'db' | 'listener' | 'log'>) {}

  async start(): Promise<void> {
    this.#unsubscribe = this.ctx.listener.on(TOKENS_CHANNEL, () => {
      this.#current = false;
      void this.#refresh();
    });
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

  /**
   * The caller that a token stands for; undefined for one that is unknown, expired or revoked.
   * @throws Problem `unavailable`
   */
  verify(token: string): Caller | undefined | Promise<Caller | undefined> {
    return this.#find(hashToken(token).toString('hex'));
  }

  /** A caller as it is now, as `verify` would return it. */
  verifyAgain({ hash }: Caller): Caller | undefined | Promise<Caller | undefined> {
    return this.#find(hash);
  }

  /** Calls back when the tokens have been read and a caller's is gone, or its CPO suspended; returns how to stop. */
  onRefused({ hash }: Caller, listener: () => void): () => void {
    this.#refused.on(hash, listener);
    return () => this.#refused.off(hash, listener);
  }

  /** Whether memory can be trusted to know every revocation. */
  #trusted(): boolean {
    return this.#current && this.ctx.listener.connected;
  }

  #find(hash: string): Caller | undefined | Promise<Caller | undefined> {
    const known = this.#live.get(hash);
    if (known !== undefined && this.#trusted())
      return known.expiresAt.getTime() > this.ctx.listener.now() ? this.#use(known) : undefined;
    if (!this.#current && this.#reading === undefined) void this.#refresh();

    const underWay = this.#lookUps.get(hash);
    if (underWay !== undefined && performance.now() - underWay.began < SHARED_FOR_MS) return this.#wait(underWay.found);
    if (known === undefined && !this.#mayLookUpUnknown()) {
      // Memory is a moment behind at most while notifications arrive; while they are lost it may not know a good token.
      if (this.ctx.listener.connected) return undefined;
      throw new Problem('unavailable');
    }
    return this.#wait(this.#lookUp(hash));
  }

  async #wait(found: Promise<Caller | undefined>): Promise<Caller | undefined> {
    if (this.#waiting >= MOST_WAITING) throw new Problem('unavailable');
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
    const now = this.ctx.listener.now();
    for (const { tokenId, role, cpo, expiresAt } of this.#live.values()) {
      if (!expiresSoon(expiresAt, now) || now - (this.#warned.get(tokenId) ?? -Infinity) < DAY_MS) continue;
      this.#warned.set(tokenId, now);
      const fields = { token_id: tokenId, role, cpo_id: cpo?.id, expires_at: expiresAt.toISOString() };
      this.ctx.log.warn('token expires soon', fields);
    }
  }

  #mayLookUpUnknown(): boolean {
    if (this.#unknownLeft() === 0) return false;
    this.#unknown += 1;
    return true;
  }

  #unknownLeft(): number {
    const now = performance.now();
    if (now - this.#second >= 1000) {
      this.#second = now;
      this.#unknown = 0;
    }
    return UNKNOWN_PER_SECOND - this.#unknown;
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
        const live = await rows<Caller>(this.ctx.db, LIVE);
        this.#live = new Map(live.map((caller) => [caller.hash, caller]));
        // A change that was announced during the reading may not be in it.
        this.#current = !this.#stale;
        this.#notifyRefused();
        this.#warn();
      } catch {
        this.#current = false;
        this.ctx.log.warn('tokens could not be read, looking each up');
      }
    }
  }

  #notifyRefused(): void {
    for (const hash of this.#refused.eventNames()) {
      const caller = this.#live.get(String(hash));
      if (caller === undefined || caller.cpo?.suspended) this.#refused.emit(hash);
    }
  }
}
