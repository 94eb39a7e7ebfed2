import type { Audited } from '../audit/audit';
import type { Context } from '../context';
import { type Origin, originFields } from '../contract/trace-context';
import { setOutbound } from '../cpos/cpos';
import { rows } from '../db/query';
import { readBaseUrl } from '../outbound/address';
import { OperatorError, Problem } from '../problems';
import type { CallerCpo } from '../tokens/caller';
import { countForCpo } from './limits';
import type { EndpointVerifier } from './verify-endpoint';

/**
 * Sets where a CPO of a sandbox deployment is called, after its server has confirmed that it wants to be (contract, section 10).
 * It is asked again only when a run of the checks starts: each other call checks the address and the certificate of the host, so
 * that a host name which comes to lead elsewhere is not called.
 * @returns the base URL as stored
 * @throws Problem `invalid-request`, `too-many-requests`
 */
export async function setEndpoint(
  ctx: Context & Audited,
  verifier: EndpointVerifier,
  { id: cpoId, sandbox: selfService }: CallerCpo,
  { base_url, token }: { base_url: string; token: string },
  origin: Origin,
): Promise<string> {
  await countForCpo(ctx.db, cpoId, 'endpoint_at');
  const { callsLoopback } = ctx.config;
  const baseUrl = await readBaseUrl(base_url, callsLoopback).catch((error: unknown) => {
    if (!(error instanceof OperatorError)) throw error;
    const refused = error.message.replace(/^the base URL /, '');
    throw invalid(callsLoopback ? refused : `${refused}. ${ONLY_PUBLIC}`);
  });
  if (!callsLoopback && isOtherService(new URL(baseUrl))) throw invalid('must have port 443 or one from 1024 on');
  const refusal = await verifier.refusal(baseUrl, cpoId, origin);
  if (refusal !== undefined)
    throw invalid(`must answer GET /.well-known/scsp-pairing below it with the id of this CPO, ${cpoId}: ${refusal}`);
  // Entries of the audit log are never deleted: strangers write none.
  await setOutbound(ctx, cpoId, { baseUrl, outboundToken: token }, !selfService);
  ctx.log.info('endpoint of a CPO set', { ...originFields(origin), cpo_id: cpoId, url: new URL(baseUrl).origin });
  return baseUrl;
}

/** What somebody can do whose backend runs on their own machine. */
const ONLY_PUBLIC =
  'Others can reach this sandbox, so it calls public addresses with https only. Give your backend one, for example by a tunnel, or run a sandbox on your own machine, which calls http://localhost, too.';

const NO_ENDPOINT = 'This CPO has no endpoint. Set it first with PUT /v1/scsp/me/endpoint.';

/**
 * Returns the base URL at which a CPO is called.
 * @throws Problem `not-found` when none was set
 */
export async function endpointOf({ db }: Pick<Context, 'db'>, cpoId: string): Promise<string> {
  const [cpo] = await rows<{ baseUrl: string | null }>(db, 'select base_url as "baseUrl" from cpos where id = $1', [
    cpoId,
  ]);
  if (cpo === undefined || cpo.baseUrl === null) throw new Problem('not-found', { message: NO_ENDPOINT });
  return cpo.baseUrl;
}

/** Returns whether a port is that of another service, such as SMTP, which strangers must not have called. */
const isOtherService = ({ port }: URL) => port !== '' && Number(port) < 1_024;

/** Says what a CPO without an endpoint has to do. */
export function noEndpoint(error: unknown): never {
  if (!(error instanceof Problem && error.type === 'cpo-unavailable')) throw error;
  throw new Problem('cpo-unavailable', { message: NO_ENDPOINT });
}

function invalid(message: string): Problem {
  return new Problem('invalid-request', {
    message: 'The request has a validation error, see errors.',
    errors: [{ pointer: '/base_url', message }],
  });
}
