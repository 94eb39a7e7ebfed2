import { NIL } from 'uuid';
import type { Context } from '../context';
import { subjectHashes } from '../crypto/keys';
import { rows } from '../db/query';
import { storedProtocolOf } from '../protocols';
import { type PairedStation, stationsOfPairings } from '../stations/stations';
import {
  ATTEMPTS,
  AUDIT,
  CODES,
  EVENTS,
  KNOWN,
  NOTIFICATIONS,
  PAIRINGS,
  REDEMPTION_ATTEMPTS,
  REDEMPTIONS,
} from './export-sql';

type ExportContext = Pick<Context, 'db' | 'keys'>;

/** A row as it is stored, under the names of its columns. */
type Stored = Readonly<Record<string, unknown>>;
type Page = { readonly last: string | null; readonly found: Stored[] };

type Section = {
  /** The tables whose rows the section has. */
  readonly tables: readonly string[];
  readonly read: (ctx: ExportContext, userId: string) => AsyncGenerator<Stored>;
};

/** Reads the pages of a statement with the parameters user (or their hashes), the last key of the previous page, and others. */
async function* pages(ctx: ExportContext, sql: string, who: unknown, ...others: unknown[]): AsyncGenerator<Stored[]> {
  for (let after: string | null = NIL; after !== null; ) {
    const [page]: Page[] = await rows<Page>(ctx.db, sql, [who, after, ...others]);
    yield page?.found ?? [];
    after = page?.last ?? null;
  }
}

/** Reads the rows of a statement, page by page. */
async function* all(...statement: Parameters<typeof pages>): AsyncGenerator<Stored> {
  for await (const page of pages(...statement)) yield* page;
}

async function* pairingsOf(ctx: ExportContext, userId: string): AsyncGenerator<Stored> {
  for await (const page of pages(ctx, PAIRINGS, userId)) {
    const paired = await stationsOfPairings(
      ctx.db,
      page.map(({ id }) => String(id)),
    );
    const stations = new Map(paired.map((one) => [one.pairingId, one]));
    for (const pairing of page) yield { ...pairing, ...writeStation(stations.get(String(pairing.id))) };
  }
}

const writeStation = (paired: PairedStation | undefined) =>
  paired && {
    uid: paired.station.uid,
    payload_protocol: paired.payloadProtocol,
    ...storedProtocolOf(paired.payloadProtocol).write(paired.station),
  };

async function* attemptsOf(ctx: ExportContext, userId: string): AsyncGenerator<Stored> {
  for await (const { id } of all(ctx, PAIRINGS, userId)) yield* all(ctx, ATTEMPTS, userId, id);
}

/** What an export has, in this order. */
export const SECTIONS: Readonly<Record<string, Section>> = {
  codes: { tables: ['pairing_codes'], read: (ctx, user) => all(ctx, CODES, user) },
  pairings: { tables: ['pairings', 'stations', 'evses', 'connectors'], read: pairingsOf },
  attempts: { tables: ['attempts'], read: attemptsOf },
  redemption_attempts: {
    tables: ['redemption_attempts'],
    read: (ctx, user) => all(ctx, REDEMPTION_ATTEMPTS, subjectHashes(ctx.keys, 'user', user)),
  },
  redemptions: { tables: ['redemptions'], read: (ctx, user) => all(ctx, REDEMPTIONS, user) },
  notifications: { tables: ['outbox'], read: (ctx, user) => all(ctx, NOTIFICATIONS, user) },
  events: { tables: ['events', 'webhook_deliveries'], read: (ctx, user) => all(ctx, EVENTS, user) },
  audit: { tables: ['audit'], read: (ctx, user) => all(ctx, AUDIT, user) },
};

/** The tables that could refer to a user, a code, a pairing or a station and are left out, with the reason. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  calls: 'hold no uid, user or pairing: nobody can tell whose calls they were',
  certification_results: 'are about the endpoint of a CPO, in sandbox deployments',
  certification_runs: 'are about the endpoint of a CPO, in sandbox deployments',
  code_neighbours: 'are keyed hashes of a code, kept until it expires; the code is exported',
  cpo_tries: 'count the incorrect codes that CPOs sent; the attempts are exported',
  erasures: 'belong to users who were forgotten: nothing is left to export',
  failed_attempts: 'count the incorrect codes that CPOs sent, under keyed hashes for 25 hours',
  idempotency_keys: 'hold a hash of a request for 24 hours, and the id of the pairing, which is exported',
  observed_requests: 'are requests of CPOs without customers, in sandbox deployments',
  replicas: 'are the state of processes: nothing in them is about a user',
  user_code_issues: 'count the codes issued within ten minutes, under keyed hashes; the codes are exported',
};

/** Returns the time of the database if anything is stored of a user, otherwise undefined. */
export async function knownAt(ctx: ExportContext, userId: string): Promise<Date | undefined> {
  const [found] = await rows<{ now: Date; known: boolean }>(ctx.db, KNOWN, [
    userId,
    subjectHashes(ctx.keys, 'user', userId),
  ]);
  return found?.known ? found.now : undefined;
}
