import { mediaTypeOf } from '../../cpos/answer';
import { CheckFailed, CheckNotRun, type Exchange, type FailureKind } from './exchange';
import { type Gate, type GateId, isMetBefore } from './gates';
import { exchange, incorrectCode, type Kit, messageIn, pairBody, pairPath, requestsToAll, unknownUid } from './kit';
import { addressError } from './target';

const GATE_OF_FAILURE: Readonly<Partial<Record<FailureKind, GateId>>> = {
  forbidden: 'transport-address',
  unconnected: 'transport-connect',
  certificate: 'transport-certificate',
};
const REFUSED = [401, 403];
/** How every token of the service begins. */
const OF_THE_SERVICE = 'scsp_';
const NOT_RUNNING = 'Start your backend, or correct the port of the target: nothing on this machine listens there.';

/**
 * Returns the first condition for the other checks that is not met, undefined if all are. Nothing is sent, and no name is
 * resolved by the caller, before scheme and addresses are right.
 */
export async function checkGates(kit: Kit): Promise<Gate | undefined> {
  const { target, protocols } = kit;
  if (target.url.protocol !== 'https:' && !target.local)
    return { id: 'transport-https', note: 'the target does not begin with https://' };
  const forbidden = await addressError(target);
  if (forbidden !== undefined) return { id: 'transport-address', note: forbidden };
  const first = await exchange(kit, { path: pairPath(protocols[0]), body: pairBody(incorrectCode()) });
  const id = first.failure && GATE_OF_FAILURE[first.failure.kind];
  if (id !== undefined) return { id, note: first.failure?.reason ?? '', exchange: first };
  if (await isTokenRefused(kit, first))
    return { id: 'auth-token-accepted', note: refusalNote(kit, first), exchange: first };
  if (await isNothingServed(kit, first))
    return {
      id: 'transport-base-url',
      note: 'every path of the contract is answered 404, as a path that does not exist',
      exchange: first,
    };
  return undefined;
}

/** Judges a condition. All were checked before the first check ran. @throws CheckFailed, CheckNotRun */
export function judgeGate({ gate, target }: Kit, id: GateId): void {
  if (gate === undefined || isMetBefore(id, gate)) return;
  if (gate.id !== id) throw new CheckNotRun(`${gate.id} to pass`);
  throw new CheckFailed(gate.note, gate.exchange, id === 'transport-connect' && target.local ? NOT_RUNNING : undefined);
}

/** Returns whether the token is refused on every path. */
async function isTokenRefused(kit: Kit, first: Exchange): Promise<boolean> {
  const isRefused = ({ answer }: Exchange) => answer !== undefined && REFUSED.includes(answer.status);
  if (!isRefused(first)) return false;
  for (const request of requestsToAll(kit)) if (!isRefused(await exchange(kit, request))) return false;
  return true;
}

function refusalNote({ token }: Kit, { answer }: Exchange): string {
  const note = `your backend refuses the token: every request with it is answered ${answer?.status}`;
  return token.startsWith(OF_THE_SERVICE) ? `${note}. It is a token of the service, not one of your backend` : note;
}

/**
 * Returns whether every path of the contract is answered as a path that does not exist. Bodies without a code are sent: a
 * backend that serves pair answers them 400, but an incorrect code 404. They are JSON, as others may be refused before routing.
 */
async function isNothingServed(kit: Kit, first: Exchange): Promise<boolean> {
  const known = notFoundIn(first);
  if (known === undefined) return false;
  const nowhere = { path: `/v1/cpo/${unknownUid()}/pair`, body: '{}' };
  const requests = requestsToAll(kit).map((request) => ('body' in request ? { ...request, body: '{}' } : request));
  for (const request of [...requests, nowhere]) if (notFoundIn(await exchange(kit, request)) !== known) return false;
  return true;
}

/** Returns what a 404 says, without the path; undefined for any other response, or one that cannot be read. */
function notFoundIn({ sent, answer }: Exchange): string | undefined {
  if (answer?.status !== 404 || answer.truncated || answer.headers['content-encoding'] !== undefined) return undefined;
  const message = messageIn(answer.bytes) ?? '';
  return `${mediaTypeOf(answer)} ${message.replaceAll(new URL(sent.url).pathname, '')}`;
}
