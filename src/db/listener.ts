import { EventEmitter } from 'node:events';
import { Client } from 'pg';
import type { Log } from '../log';
import { withSession } from './session';

const CONNECT_DEADLINE_MS = 2_000;
const PING_EVERY_MS = 250;
const PING_DEADLINE_MS = 500;
const RETRY_MS = 250;

/** Subscribes to every notification of a channel, whatever its payload. */
export const ANY_PAYLOAD = '*';

/**
 * Receives notifications (LISTEN) on a dedicated connection.
 *
 * Pings the server to detect a dead connection within a second. While `connected` is false, subscribers must not rely
 * on it. After every (re)connection all subscribers are called, because notifications may have been missed.
 */
export class Listener {
  readonly #emitter = new EventEmitter().setMaxListeners(0);
  #client: Client | undefined;
  /** By `performance.now()`. */
  #disconnectedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Database time minus this process's monotonic time, ms. */
  #offset: number | undefined;

  constructor(
    readonly url: string,
    readonly channels: readonly string[],
    readonly log: Log,
  ) {}

  get connected(): boolean {
    return this.#client !== undefined;
  }

  /** The time since the connection was lost, or first attempted; 0 while connected. */
  get disconnectedSeconds(): number {
    return this.connected ? 0 : (performance.now() - this.#disconnectedAt) / 1_000;
  }

  /** Returns the database's time in ms since the epoch: its clock decides expiry. */
  now(): number {
    return this.#offset === undefined ? Date.now() : performance.now() + this.#offset;
  }

  /** Subscribes to notifications with a payload (or `ANY_PAYLOAD`), and to reconnections. Returns the function that unsubscribes. */
  on(channel: string, listener: () => void, payload = ''): () => void {
    const event = `${channel} ${payload}`;
    this.#emitter.on(event, listener);
    return () => this.#emitter.off(event, listener);
  }

  /** @throws the driver's error if the database is unavailable */
  async start(): Promise<void> {
    await this.#connect();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const client = new Client({
      connectionString: withSession(this.url),
      connectionTimeoutMillis: CONNECT_DEADLINE_MS,
      query_timeout: CONNECT_DEADLINE_MS,
      application_name: 'scsp-pairing listener',
    });
    client.on('error', () => this.#disconnected(client));
    client.on('end', () => this.#disconnected(client));
    client.on('notification', ({ channel, payload = '' }) => {
      this.#emitter.emit(`${channel} ${payload}`);
      this.#emitter.emit(`${channel} ${ANY_PAYLOAD}`);
    });
    try {
      await client.connect();
      for (const channel of this.channels) await client.query(`listen ${channel}`);
      await this.#ping(client);
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
    if (this.#stopped) return void client.end().catch(() => undefined);
    this.#client = client;
    for (const event of this.#emitter.eventNames()) this.#emitter.emit(event);
    this.#schedulePing(client);
  }

  async #ping(client: Client): Promise<void> {
    const sentAt = performance.now();
    const result = await within(
      PING_DEADLINE_MS,
      client.query<{ ms: number }>('select extract(epoch from clock_timestamp())::float8 * 1000 as ms'),
    );
    this.#offset = (result.rows[0]?.ms ?? Date.now()) - (sentAt + performance.now()) / 2;
  }

  #schedulePing(client: Client): void {
    this.#timer = setTimeout(() => {
      this.#ping(client).then(
        () => client === this.#client && this.#schedulePing(client),
        () => this.#disconnected(client),
      );
    }, PING_EVERY_MS);
  }

  #disconnected(client: Client): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    this.#disconnectedAt = performance.now();
    clearTimeout(this.#timer);
    void client.end().catch(() => undefined);
    this.log.warn('notifications lost, reconnecting');
    this.#retry();
  }

  #retry(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#connect().then(
        () => this.log.info('notifications restored'),
        () => this.#retry(),
      );
    }, RETRY_MS);
  }
}

/**
 * Rejects when the time is over. What has arrived meanwhile counts, although a process that was busy reads it only after its timers:
 * it has then lost time, but not the connection.
 */
function within<T>(ms: number, result: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => setImmediate(() => reject(new Error(`no answer within ${ms} ms`))), ms);
    result.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
