import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../context';
import { subjectHashes } from '../crypto/keys';
import { Batcher, requestDeadlines } from '../db/batcher';
import { asBytea, prepared, preparedRows } from '../db/query';
import { Problem } from '../problems';
import { GUESS_ODDS, hashCode, nearTwins, neighbourKeys } from './code';
import type { Code } from './codes';

export type IssuedCode = Code & { readonly code: string };
export type IssueRequest = {
  readonly userId: string;
  readonly chargingLocationId: string;
  /** The only CPO that may use the code, if any. */
  readonly cpoId?: string | undefined;
};

type Issuing = Pick<Context, 'config' | 'db' | 'metrics' | 'random' | 'keys'>;

/** So many requests share a statement, and a commit. */
const LARGEST_SET = 32;
const LONGEST = 18;
/** Values for a request that is asked again; the first time one of a length is enough for nearly all. */
const VALUES = 8;
const SHORTER = 32;

/** A request as `scsp_issue_codes_v1` reads it, with values to choose from. */
type Draft = { readonly id: string; readonly request: IssueRequest; readonly values: readonly Value[] };
type Value = { readonly code: string; readonly stored: object };

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
type Answer = Outcome & { readonly code: string | undefined };

const ISSUE = prepared(
  'issue',
  `select n, outcome, i, length, retry_after as "retryAfter", twins_needed as "twinsNeeded", created_at as "createdAt",
    expires_at as "expiresAt", replaced_id as "replacedId", replaced_status as "replacedStatus"
  from scsp_issue_codes_v1($1, $2, $3, $4, $5, $6, $7) order by n`,
);

/**
 * Issues codes for users and charging locations and cancels their old ones (contract, section 4). Requests that arrive while
 * a statement is under way share the next one.
 * @returns a verb that throws Problem `invalid-request` for an unknown CPO, `too-many-codes`, `unavailable`
 */
export function createIssueCode(ctx: Issuing): (request: IssueRequest) => Promise<IssuedCode> {
  const sets = new Batcher<Draft, Answer>({
    work: (drafts) => issueAll(ctx, drafts),
    largest: LARGEST_SET,
    failsAll: (error) => error instanceof Problem && error.type === 'unavailable',
  });
  /** The length of recent codes: up with the first that is longer, down by one after so many that are shorter. */
  let recent = ctx.config.codeLength;
  let twinsNeeded = false;

  return async (request) => {
    const longest = Math.ceil(recent);
    let lengths = longest > ctx.config.codeLength ? [longest - 1, longest] : [longest];
    const deadlines = requestDeadlines();
    while (performance.now() < deadlines.startBy) {
      const values = lengths.map((length) => draw(ctx, length, twinsNeeded));
      const id = ctx.random.uuid();
      const answer = await sets.add(request.userId, { id, request, values }, deadlines);
      recent = Math.max(answer.length ?? ctx.config.codeLength, recent - 1 / SHORTER);
      twinsNeeded = answer.twinsNeeded;
      switch (answer.outcome) {
        case 'issued':
          return issuedCode(id, request, answer);
        case 'unknown-cpo':
          throw new Problem('invalid-request', {
            errors: [{ pointer: '/cpo_id', message: 'is not the id of a known CPO' }],
          });
        case 'too-many-codes':
          throw tooManyCodes(answer.retryAfter ?? 1);
        case 'space-used-up':
          throw new Problem('unavailable');
        case 'retry':
          lengths = Array(VALUES).fill(answer.length ?? longest);
          await sleep(1 + Math.random() * 20);
      }
    }
    throw new Problem('unavailable');
  };
}

function draw(ctx: Issuing, length: number, withTwins: boolean): Value {
  const code = ctx.random.digits(length);
  const [current, ...former] = ctx.keys.pairingCode;
  if (current === undefined) throw new TypeError('no key for pairing codes');
  const hashes = (text: string) => ctx.keys.pairingCode.map((key) => asBytea(hashCode(key, text)));
  const twins = withTwins ? nearTwins(code).flatMap((twin) => hashes(twin).map((hash) => ({ hash, twin }))) : undefined;
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

async function issueAll(ctx: Issuing, drafts: readonly Draft[]): Promise<Answer[]> {
  const requests = drafts.map(({ id, request }, n) => ({
    n,
    id,
    user_id: request.userId,
    charging_location_id: request.chargingLocationId,
    cpo_id: request.cpoId,
    user_hashes: subjectHashes(ctx.keys, 'user', request.userId).map(asBytea),
    issued_event: ctx.random.uuid(),
    replaced_event: ctx.random.uuid(),
  }));
  const values = drafts.flatMap((draft, n) => draft.values.map(({ code, stored }) => ({ code, stored, n })));
  const { codeLength, codeTtlSeconds, limits } = ctx.config;
  const outcomes = await preparedRows<Outcome>(ctx.db, ISSUE, [
    JSON.stringify(requests),
    JSON.stringify(values.map(({ stored, n }, i) => ({ i, n, ...stored }))),
    codeLength,
    LONGEST,
    GUESS_ODDS,
    codeTtlSeconds,
    limits.userCodes10Min,
  ]);
  for (const { n, outcome, replacedId, replacedStatus } of outcomes) {
    if (replacedId !== null) ctx.metrics[replacedStatus === 'expired' ? 'codeExpired' : 'codeCancelled'](replacedId);
    if (outcome === 'issued') ctx.metrics.codeIssued(drafts[n]?.id ?? '');
  }
  return outcomes.map((outcome) => ({ ...outcome, code: values[outcome.i ?? -1]?.code }));
}

function issuedCode(id: string, request: IssueRequest, { code, createdAt, expiresAt }: Answer): IssuedCode {
  if (code === undefined) throw new TypeError('a code was issued that was not drawn');
  const { userId, chargingLocationId, cpoId = null } = request;
  return { id, status: 'active', userId, chargingLocationId, cpoId, createdAt, expiresAt, code };
}

function tooManyCodes(seconds: number): Problem {
  return new Problem('too-many-codes', {
    message: `Too many pairing codes were issued for this user, please try again in ${seconds} s.`,
    headers: { 'Retry-After': String(seconds) },
  });
}
