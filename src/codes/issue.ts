import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { type Origin, storedTrace } from '../contract/trace-context';
import { subjectHashes } from '../crypto/keys';
import { Batcher, requestDeadlines } from '../db/batcher';
import { asBytea, prepared, preparedRows } from '../db/query';
import { Problem } from '../problems';
import { codesWithinOneEdit, GUESS_ODDS, hashCode, neighbourKeys } from './code';
import type { Code } from './codes';

export type IssuedCode = Code & { readonly code: string };
export type IssueRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  /** Binds the code to this CPO. */
  readonly cpoId?: string | undefined;
  /** Undefined for a command. */
  readonly origin?: Origin;
};

type IssueContext = Pick<Context, 'config' | 'db' | 'metrics' | 'random' | 'keys'>;

const MAX_BATCH_SIZE = 32;
const MAX_CODE_LENGTH = 18;
/** Offers several values when a request is retried. The first time, one of each length nearly always suffices. */
const CANDIDATES_PER_RETRY = 8;
/** The number of shorter codes after which the expected length decreases by one. */
const SHORTER_AFTER = 32;

/** A request with the candidate values that `scsp_issue_codes_v3` chooses from. */
type Draft = { readonly id: string; readonly request: IssueRequest; readonly candidates: readonly Candidate[] };
type Candidate = { readonly code: string; readonly stored: object };

type Outcome = {
  n: number;
  outcome: 'issued' | 'unknown-cpo' | 'too-many-codes' | 'retry' | 'space-used-up';
  i: number | null;
  length: number | null;
  retryAfter: number | null;
  twinsNeeded: boolean;
  createdAt: Date;
  expiresAt: Date;
  replacedId: string | null;
  replacedStatus: 'cancelled' | 'expired' | null;
};
type Result = Outcome & { readonly code: string | undefined };

const ISSUE = prepared(
  'issue',
  `select n, outcome, i, length, retry_after as "retryAfter", twins_needed as "twinsNeeded", created_at as "createdAt",
    expires_at as "expiresAt", replaced_id as "replacedId", replaced_status as "replacedStatus"
  from scsp_issue_codes_v3($1, $2, $3, $4, $5, $6, $7) order by n`,
);

/**
 * Creates the function that issues a code for a user and charging location and cancels the previous one (contract,
 * section 4). Concurrent requests share a statement.
 * @param isReserved whether a value must not be issued: the test codes of a sandbox deployment
 * @returns a function that throws Problem `invalid-request` (unknown CPO), `too-many-codes`, `unavailable`
 */
export function createIssueCode(
  ctx: IssueContext,
  isReserved: (code: string) => boolean = () => false,
): (request: IssueRequest) => Promise<IssuedCode> {
  const batcher = new Batcher<Draft, Result>({
    work: (drafts) => issueAll(ctx, drafts),
    maxBatchSize: MAX_BATCH_SIZE,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
  ctx.metrics.readFrom({ codeQueue: () => batcher.queued });
  /** The length to offer next: rises with the first longer code, falls by one after `SHORTER_AFTER` shorter ones. */
  let expectedLength = ctx.config.codeLength;
  let twinsNeeded = false;

  return async (request) => {
    const longest = Math.ceil(expectedLength);
    let lengths = longest > ctx.config.codeLength ? [longest - 1, longest] : [longest];
    const deadlines = requestDeadlines();
    while (performance.now() < deadlines.startBy) {
      const candidates = lengths
        .map((length) => generateCandidate(ctx, length, twinsNeeded))
        .filter(({ code }) => !isReserved(code));
      const id = ctx.random.uuid();
      const result = await batcher.add(request.userId, { id, request, candidates }, deadlines);
      expectedLength = Math.max(result.length ?? ctx.config.codeLength, expectedLength - 1 / SHORTER_AFTER);
      twinsNeeded = result.twinsNeeded;
      switch (result.outcome) {
        case 'issued':
          return issuedCode(id, request, result);
        case 'unknown-cpo':
          throw new Problem('invalid-request', {
            errors: [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }],
          });
        case 'too-many-codes':
          throw tooManyCodes(result.retryAfter ?? 1);
        case 'space-used-up':
          throw new Problem('unavailable');
        case 'retry':
          lengths = Array(CANDIDATES_PER_RETRY).fill(result.length ?? longest);
          await sleep(1 + Math.random() * 20);
          break;
        default:
          throw new TypeError(`scsp_issue_codes_v3 returned the unknown outcome ${result.outcome satisfies never}`);
      }
    }
    throw new Problem('unavailable');
  };
}

/** Generates a random code and its hashes; `withTwins` adds the hashes of all codes within one edit. */
function generateCandidate(ctx: IssueContext, length: number, withTwins: boolean): Candidate {
  const code = ctx.random.digits(length);
  const [current, ...former] = ctx.keys.pairingCode;
  if (current === undefined) throw new TypeError('no key for pairing codes');
  const hashes = (text: string) => ctx.keys.pairingCode.map((key) => asBytea(hashCode(key, text)));
  const twins = withTwins
    ? codesWithinOneEdit(code).flatMap((twin) => hashes(twin).map((hash) => ({ hash, twin })))
    : undefined;
  const stored = {
    length: code.length,
    hashes: hashes(code),
    keys: neighbourKeys(current, code),
    former_keys: former.flatMap((key) => neighbourKeys(key, code)),
    twin_hashes: twins?.map(({ hash }) => hash),
    twin_lengths: twins?.map(({ twin }) => twin.length),
  };
  return { code, stored };
}

async function issueAll(ctx: IssueContext, drafts: readonly Draft[]): Promise<Result[]> {
  const requests = drafts.map(({ id, request }, n) => ({
    n,
    id,
    user_id: request.userId,
    charging_location_id: request.chargingLocationId,
    cpo_id: request.cpoId,
    user_hashes: subjectHashes(ctx.keys, 'user', request.userId).map(asBytea),
    replaced_event: ctx.random.uuid(),
    traceparent: storedTrace(request.origin),
  }));
  const candidates = drafts.flatMap((draft, n) => draft.candidates.map(({ code, stored }) => ({ code, stored, n })));
  const { codeLength, codeTtlSeconds, limits } = ctx.config;
  const outcomes = await preparedRows<Outcome>(ctx.db, ISSUE, [
    JSON.stringify(requests),
    JSON.stringify(candidates.map(({ stored, n }, i) => ({ i, n, ...stored }))),
    codeLength,
    MAX_CODE_LENGTH,
    GUESS_ODDS,
    codeTtlSeconds,
    limits.userCodes10Min,
  ]);
  for (const { n, outcome, replacedId, replacedStatus } of outcomes) {
    const { origin, cpoId } = drafts[n]?.request ?? {};
    if (replacedId !== null)
      ctx.metrics[replacedStatus === 'expired' ? 'codeExpired' : 'codeCancelled'](replacedId, origin);
    if (outcome === 'issued') ctx.metrics.codeIssued(drafts[n]?.id ?? '', origin, cpoId);
  }
  return outcomes.map((outcome) => ({ ...outcome, code: candidates[outcome.i ?? -1]?.code }));
}

function issuedCode(id: string, request: IssueRequest, { code, createdAt, expiresAt }: Result): IssuedCode {
  if (code === undefined) throw new TypeError('scsp_issue_codes_v3 returned an unknown candidate');
  const { userId, chargingLocationId, cpoId = null } = request;
  return { id, status: 'active', userId, chargingLocationId, cpoId, createdAt, expiresAt, code };
}

function tooManyCodes(seconds: number): Problem {
  return new Problem('too-many-codes', {
    message: `Too many pairing codes were issued for this user, please try again in ${seconds} s.`,
    headers: { 'Retry-After': String(seconds) },
  });
}
