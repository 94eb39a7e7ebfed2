import type { Call } from '../calls/call';
import type { Context } from '../context';
import type { Origin } from '../contract/trace-context';
import { type CpoClient, pairUrl } from '../cpos/client';
import { callableCpo } from '../cpos/cpos';
import { hashSubject } from '../crypto/keys';
import { rows } from '../db/query';
import { compensate } from '../pairing/compensate';
import { BLANK_CODE, storeStation } from '../pairing/redeem';
import { Problem, type ValidationError } from '../problems';
import { type PayloadProtocol, protocolOf } from '../protocols';
import type { StationBody } from '../protocols/protocol';
import { noEndpoint } from './endpoint';
import { countForCpo } from './limits';
import { redemptionMessage } from './redemption-message';

export type TestRedemption = {
  readonly cpoId: string;
  readonly uidScope: string | undefined;
  readonly payloadProtocol: PayloadProtocol;
  readonly code: string;
  readonly origin: Origin;
  /** Throws if the caller's token was revoked during the call to the CPO. */
  readonly stillAllowed: () => Promise<void>;
};

/** What came of a redemption; `outcome` is `paired` or the type of the problem that an app would get. */
export type Redeemed = {
  readonly outcome: string;
  /** The HTTP status of the CPO's answer, if there was one. */
  readonly status: number | undefined;
  readonly durationMs: number;
  readonly requestId: string;
  /** The address that was called, if one was. */
  readonly url: string | undefined;
  readonly message?: string;
  readonly errors?: readonly ValidationError[];
  readonly station?: StationBody;
};

/** The redemption's own row, which the statement that stores the station ends. */
const BEGIN = 'insert into redemption_attempts (id, user_hash) values ($1, $2)';

/**
 * Redeems a code of a CPO for its test customer, as an app would (contract, section 10). The limits of users do not apply.
 * @throws Problem `cpo-unavailable`, `too-many-requests`, `invalid-request`, `unavailable` if the database is
 */
export async function redeemForTest(ctx: Context, client: CpoClient, request: TestRedemption): Promise<Redeemed> {
  const { cpoId, payloadProtocol, code, origin } = request;
  const cpo = await callableCpo(ctx, cpoId, payloadProtocol, true).catch(noEndpoint);
  await countForCpo(ctx.db, cpoId, 'redemption_at');
  let seen: Call | undefined;
  const caller = {
    origin,
    user: '',
    onCall(call: Call) {
      seen = call;
    },
  };
  const startedAt = performance.now();
  const ask = async () => {
    if (BLANK_CODE.test(code)) throw new Problem('incorrect-code');
    return client.askStation(cpo, payloadProtocol, code.trim(), caller);
  };
  const answer = await ask().catch((error: unknown) => ({ refused: problemOf(error), errors: [], uid: undefined }));
  const call = {
    status: seen?.status,
    requestId: seen?.requestId ?? origin.requestId,
    url: seen && pairUrl(cpo, payloadProtocol),
    durationMs: Math.round(performance.now() - startedAt),
  };
  if ('refused' in answer) {
    await compensate(ctx, request, answer.uid);
    const { refused, errors } = answer;
    const message = redemptionMessage(refused, seen);
    return { ...call, outcome: refused.type, message, ...(errors.length > 0 && { errors }) };
  }
  const station = protocolOf(payloadProtocol).write(protocolOf(payloadProtocol).read(answer.body));
  try {
    await store(ctx, request, answer.body);
    return { ...call, outcome: 'paired', station };
  } catch (error) {
    const problem = problemOf(error);
    if (problem.type !== 'station-already-paired') throw problem;
    return { ...call, outcome: problem.type, message: problem.message, station };
  }
}

async function store(ctx: Context, request: TestRedemption, body: StationBody): Promise<void> {
  const attempt = ctx.random.uuid();
  await rows(ctx.db, BEGIN, [attempt, hashSubject(ctx.keys, 'user', `test customer of ${request.cpoId}`)]);
  await storeStation(ctx, attempt, { ...request, userId: null, chargingLocationId: null }, body);
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  throw error;
}
