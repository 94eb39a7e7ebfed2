import type { ClientCheck, Finding } from './client-check';
import { latestOfEach } from './episodes';
import type { ObservedRequest } from './observed';

/** Requests of the protocol, the latest of each. */
const calls = (requests: readonly ObservedRequest[]) =>
  latestOfEach(requests).filter(({ operation }) => operation !== 'other' && operation !== 'redirected');
const pairs = (requests: readonly ObservedRequest[]) => calls(requests).filter(({ operation }) => operation === 'pair');

/** Finds a rule broken if `mistake` names one in any of the requests, and kept if `shows` is true of one. */
function findIn(
  requests: readonly ObservedRequest[],
  mistake: (request: ObservedRequest) => string | undefined,
  shows: (request: ObservedRequest) => boolean = () => true,
): Finding {
  for (const request of requests) {
    const note = mistake(request);
    if (note !== undefined) return { state: 'broken', request, note };
  }
  const request = requests.findLast(shows);
  return request === undefined ? { state: 'open' } : { state: 'kept', request };
}

/** The rules that a single request can break. */
export const requestChecks: readonly ClientCheck[] = [
  {
    id: 'client-token-in-header-only',
    title: 'The token is in the Authorization header and nowhere else',
    level: 'required',
    clause: 'The token is read from the header Authorization only.',
    remedy:
      'Send "Authorization: Bearer <token>" with each request, with the token that the kit prints at its start. Addresses and bodies end up in logs.',
    needs: 'any request with the token',
    find: (requests) =>
      findIn(calls(requests), ({ token, tokenAlsoIn }) => {
        if (token === 'missing' && tokenAlsoIn === undefined) return 'there was no header Authorization';
        if (token === 'unknown') return 'the token in the header was not the one that the kit has printed';
        return tokenAlsoIn && `the token was in the ${tokenAlsoIn}${token === 'header' ? ', too' : ''}`;
      }),
  },
  {
    id: 'client-json',
    title: 'The body is uncompressed application/json',
    level: 'required',
    clause: 'The body is application/json without Content-Encoding, otherwise 415.',
    operation: 'pairOcpp',
    remedy: 'Send "Content-Type: application/json" and no Content-Encoding. The service answers 415 otherwise.',
    needs: 'a pair request',
    find: (requests) =>
      findIn(pairs(requests), ({ isJson }) => (isJson ? undefined : 'the body was not uncompressed application/json')),
  },
  {
    id: 'client-body-valid',
    title: 'The body is valid',
    level: 'required',
    clause: 'Path and body match the schema of the operation, otherwise 400.',
    operation: 'pairOcpp',
    remedy: 'Compare the body with the example of the operation at /docs. A 400 lists every validation error.',
    needs: 'a pair request',
    find: (requests) =>
      findIn(
        pairs(requests),
        ({ errors = [] }) =>
          errors.map(({ pointer, message }) => `${pointer || 'the body'} ${message}`).join('; ') || undefined,
      ),
  },
  {
    id: 'client-code-as-string',
    title: 'The code is a string, with its leading zeros',
    level: 'required',
    clause: 'A code is a JSON string; leading zeros count.',
    operation: 'pairOcpp',
    remedy: 'Keep the code as text everywhere, from the input field to the JSON: a number has no leading zeros.',
    needs: 'a pair request with a code that begins with 0, for example 012345',
    find: (requests) =>
      findIn(
        pairs(requests),
        ({ code, codeSentAs }) => {
          if (codeSentAs === 'number') return 'the code was sent as a number';
          return codeSentAs === 'shortened' ? `the code ${code} was sent without its leading zeros` : undefined;
        },
        ({ code, codeSentAs }) => codeSentAs === 'string' && code?.startsWith('0') === true,
      ),
  },
  {
    id: 'client-key-not-reused',
    title: 'Each new request has a new Idempotency-Key',
    level: 'required',
    clause: 'Another body under the same Idempotency-Key is 422.',
    operation: 'pairOcpp',
    remedy:
      'Generate a key, for example a UUID, when the customer submits the code. Use it again only to repeat that request.',
    needs: 'pair requests with two different codes',
    find(requests) {
      const list = pairs(requests);
      for (const [index, request] of list.entries()) {
        const isReused = list
          .slice(0, index)
          .some(({ keyHash }) => keyHash !== undefined && keyHash === request.keyHash);
        if (isReused) return { state: 'broken', request, note: 'the key was that of another request' };
      }
      const last = list.at(-1);
      if (list.length < 2 || last === undefined) return { state: 'open' };
      return { state: 'kept', request: last };
    },
  },
  {
    id: 'client-idempotency-key',
    title: 'Pair requests have an Idempotency-Key',
    level: 'recommended',
    clause: 'A CPO that wants safe retries sends an Idempotency-Key.',
    operation: 'pairOcpp',
    remedy:
      'Send an Idempotency-Key. Without one, a repeated request that had succeeded is answered with 409. Of requests with the same code and uid the latest counts.',
    needs: 'a pair request',
    find: (requests) =>
      findIn(pairs(requests), ({ keyHash }) => (keyHash === undefined ? 'there was no Idempotency-Key' : undefined)),
  },
  {
    id: 'client-uid-encoded',
    title: 'The uid is percent-encoded, once, as one segment of the path',
    level: 'required',
    clause: 'The uid is one percent-encoded segment of the path.',
    operation: 'unpairChargingStation',
    remedy: 'Encode the uid with encodeURIComponent (JavaScript), quote(uid, safe="") (Python) or their like.',
    needs: 'the unpair of a station whose uid has reserved characters, for example KIT/12#50%',
    find(requests) {
      const request = requests.findLast(
        ({ operation, uid = '', uidEncoding }) =>
          operation === 'unpair' && (uidEncoding !== 'once' || encodeURIComponent(uid) !== uid),
      );
      if (request === undefined) return { state: 'open' };
      if (request.uidEncoding === 'once') return { state: 'kept', request };
      const note = request.uidEncoding === 'twice' ? 'the uid was encoded twice' : 'the uid was not encoded';
      return { state: 'broken', request, note };
    },
  },
];
