import { OTHER_MESSAGE } from '../conformance/client/replies';
import type { Context } from '../context';
import { rows } from '../db/query';
import { inProgress } from '../pairing/idempotency';
import type { PairRequest } from '../pairing/pair-statement';
import { Problem, type ValidationError } from '../problems';
import type { TestAnswer } from './test-codes';

/** The test codes that are always refused, and count towards no limit. */
const REFUSALS = {
  '000400': (request: PairRequest) => invalid(request),
  '000404': () => new Problem('incorrect-code'),
  '000409': () => new Problem('station-already-paired'),
  '000414': () => new Problem('incorrect-code', { message: OTHER_MESSAGE }),
  '000429': () => new Problem('too-many-incorrect-codes', { headers: { 'Retry-After': '2' } }),
  '000500': () => new Problem('internal-error'),
} as const satisfies Partial<Record<TestAnswer, (request: PairRequest) => Problem>>;

type Refusal = keyof typeof REFUSALS;

export const isRefusal = (answer: TestAnswer): answer is Refusal => Object.hasOwn(REFUSALS, answer);

/** An example: the request itself was valid. */
function invalid({ payloadProtocol }: PairRequest): Problem {
  const evse = payloadProtocol.startsWith('ocpi') ? '/evse' : '/charging_station/evses/0';
  const errors: ValidationError[] = [
    { pointer: `${evse}/connectors/0/max_voltage`, message: 'must be an integer', got: '"230"' },
    { pointer: `${evse}/connectors/0/power_type`, message: 'is required' },
  ];
  return new Problem('invalid-request', {
    message: 'This is the test code 000400: the errors are an example, your request has none.',
    errors,
  });
}

/** Records the attempt, and stores the outcome under the Idempotency-Key if it is one that is replayed. */
const RECORD = `
with recorded as (
  insert into attempts (id, cpo_id, request_id, payload_protocol, uid, outcome) values ($1, $2, $3, $4, $5, $6)
), stored as (
  update idempotency_keys set outcome = $6
  where cpo_id = $2 and path = $7 and key = $8 and reservation = $9 and outcome is null
    and $6 in ('incorrect-code', 'station-already-paired')
  returning key
)
select key from stored`;

/**
 * Refuses a test code.
 * @throws Problem always
 */
export async function refuse(
  ctx: Pick<Context, 'db' | 'random'>,
  request: PairRequest,
  refusal: Refusal,
): Promise<never> {
  const problem = REFUSALS[refusal](request);
  const { cpoId, origin, payloadProtocol, station, reservation } = request;
  // Recorded as every invalid request is, after the response.
  if (problem.type === 'invalid-request') throw problem;
  const stored = await rows(ctx.db, RECORD, [
    ctx.random.uuid(),
    cpoId,
    origin.requestId,
    payloadProtocol,
    station.uid,
    problem.type,
    reservation?.path,
    reservation?.key,
    reservation?.id,
  ]);
  const isReplayed = problem.status === 404 || problem.status === 409;
  // Another request has taken over the key, and its outcome is the one that is replayed.
  if (reservation !== undefined && isReplayed && stored.length === 0) throw inProgress(1);
  throw problem;
}
