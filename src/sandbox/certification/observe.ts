import type { Request, Response } from 'express';
import { normalizeCode } from '../../codes/code';
import { keyHashOf, readPairBody, targetOf, tokenIn } from '../../conformance/client/observe';
import type { ObservedAnswer, ObservedRequest } from '../../conformance/client/observed';
import type { ValidateJson } from '../../contract/validate-json';
import { Problem } from '../../problems';
import { notesOf } from '../answer-notes';

/** What is known of a request before it is answered. */
export type Arrival = { readonly at: number; readonly isJson: boolean; readonly token: string };

/** Longer ones are not legal, however they were encoded. */
const LONGEST_UID = 200;
/** Says that a body has errors; the CPO finds them with its attempts. */
const INVALID = [{ pointer: '', message: 'is not valid' }];

/** Returns the bearer token of a request, or one of a CPO in its address. */
export function tokenOf(req: Request): string | undefined {
  return (
    /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? '')?.[1] ?? /scsp_cpo_[\w-]{1,100}/.exec(req.originalUrl)?.[0]
  );
}

/**
 * Describes a request that has been answered, as far as the checks of a caller need it.
 * @param answeredAt when the answer was handed over, undefined if there was none
 * @returns undefined for a request that no check is about
 */
export function describe(
  validate: ValidateJson,
  req: Request,
  res: Response,
  { at, isJson, token }: Arrival,
  answeredAt: number | undefined,
  now: number,
): ObservedRequest | undefined {
  const target = targetOf(req.originalUrl.split('?', 1)[0] ?? '', () => false);
  if (target.operation === 'other' || problemOf(res) === 'request-timeout') return undefined;
  const bytes: Buffer | undefined = res.locals.bodyBytes;
  const requestId: string = res.locals.requestId;
  const credentials = tokenIn(req, bytes?.toString() ?? '', token);
  const keyHash = keyHashOf(req);
  const pair = target.operation === 'pair' && { isJson, ...(keyHash && { keyHash }), ...bodyOf(validate, target, res) };
  const { uid, ...request } = { requestId, at, ...target, ...credentials, ...pair };
  const keepsUid = uid !== undefined && uid.length <= LONGEST_UID && !uid.includes(token);
  return { ...request, ...(keepsUid && { uid }), answer: answerOf(res, answeredAt ?? now, answeredAt !== undefined) };
}

function bodyOf(validate: ValidateJson, { protocol = '' }: Pick<ObservedRequest, 'protocol'>, res: Response) {
  const bytes: Buffer | undefined = res.locals.bodyBytes;
  if (bytes === undefined)
    return ['malformed-request', 'body-too-large'].includes(problemOf(res) ?? '') && { errors: INVALID };
  const { request, uid, errors, ...seen } = readPairBody(validate, protocol, bytes);
  // A code in the wrong member is not stored.
  const isCode = uid !== undefined && request !== undefined && normalizeCode(uid) === request.code;
  return { ...seen, ...(errors && { errors: INVALID }), ...(uid !== undefined && !isCode && { uid }) };
}

function problemOf(res: Response): string | undefined {
  const problem: unknown = res.locals.problem;
  return problem instanceof Problem ? problem.type : undefined;
}

function answerOf(res: Response, at: number, isAnswered: boolean): ObservedAnswer {
  const { withheld, abandoned, ...notes } = notesOf(res);
  // What is written to a connection of which the client has closed its half counts as sent.
  const isSent = isAnswered && res.writableFinished && !abandoned;
  const outcome = withheld ? 'withheld' : isSent ? 'sent' : 'too late';
  const retryAfter = res.get('Retry-After');
  return {
    at,
    outcome,
    ...(outcome === 'sent' && { status: res.statusCode }),
    ...(retryAfter !== undefined && { retryAfterS: Number(retryAfter) }),
    ...notes,
  };
}
