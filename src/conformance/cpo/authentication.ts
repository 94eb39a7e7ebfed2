import type { CpoCheck } from './cpo-check';
import { CheckFailed, CheckNotRun } from './exchange';
import {
  expectStatus,
  incorrectCode,
  type Kit,
  pairBody,
  pairPath,
  type Request,
  requestsToAll,
  send,
  unknownUid,
  unpairPath,
} from './kit';
import { containsToken } from './secrets';
import { ofFirstResponse } from './transport';

/** Sends a request to each path and expects 401. */
async function expect401OnAll(kit: Kit, when: string, change: (request: Request) => Request): Promise<void> {
  for (const request of requestsToAll(kit)) expectStatus(await send(kit, change(request)), [401], when);
}

const WRONG_TOKEN = 'wrong-token-of-a-stranger';
const required = { level: 'required', changes: false } as const;
const CLAUSE =
  'Every call has the token in the header Authorization: Bearer; without the right one the response is 401.';

export const authenticationChecks: readonly CpoCheck[] = [
  {
    ...required,
    id: 'auth-token-accepted',
    title: 'The token is accepted',
    clause: 'Every call has the token that the CPO issued to the service in the header Authorization: Bearer.',
    remedy:
      'Give the kit the token that your backend expects from the service. It is one that you issued, not the one that you got for your own calls to the service.',
    run: ofFirstResponse('auth-token-accepted'),
  },
  {
    ...required,
    id: 'auth-missing-token',
    title: 'Requests without a token are answered 401, on every path',
    clause: CLAUSE,
    remedy: 'Check the token before anything else, on every path.',
    run: (kit) => expect401OnAll(kit, 'a request without a token', (request) => ({ ...request, authorization: null })),
  },
  {
    ...required,
    id: 'auth-wrong-token',
    title: 'Requests with a wrong token are answered 401, on every path',
    clause: CLAUSE,
    remedy: 'Compare the token with the one that you gave to Jedlix.',
    async run(kit) {
      const authorization = `Bearer ${WRONG_TOKEN}`;
      await expect401OnAll(kit, 'a request with a wrong token', (request) => ({ ...request, authorization }));
    },
  },
  {
    ...required,
    id: 'auth-altered-token',
    title: 'The whole token is compared',
    clause: CLAUSE,
    operation: 'cpoPairOcpp',
    remedy: 'Compare the whole token, in constant time, and not only its beginning.',
    async run(kit) {
      const { token } = kit;
      for (const altered of [`${token}x`, token.slice(0, -1)]) {
        const request = { path: pairPath(kit.protocols[0]), body: pairBody(incorrectCode()) };
        const response = await send(kit, { ...request, authorization: `Bearer ${altered}` });
        expectStatus(response, [401], 'a token with a character more or less');
      }
    },
  },
  {
    ...required,
    id: 'auth-token-in-query',
    title: 'A token in the query is not accepted, on any path',
    clause: 'The token is read from the header only; a query is written to logs.',
    remedy: 'Read the token from the header Authorization only.',
    async run(kit) {
      const query = `?access_token=${encodeURIComponent(kit.token)}`;
      await expect401OnAll(kit, 'a request with the token in the query only', (request) => ({
        ...request,
        path: request.path + query,
        authorization: null,
      }));
    },
  },
  {
    id: 'auth-www-authenticate',
    level: 'recommended',
    changes: false,
    title: '401 responses have the header WWW-Authenticate',
    operation: 'cpoPairOcpp',
    clause: 'A 401 response has WWW-Authenticate: Bearer (RFC 6750, RFC 9110).',
    remedy: 'Send `WWW-Authenticate: Bearer` with each 401.',
    async run(kit) {
      const path = pairPath(kit.protocols[0]);
      const response = await send(kit, { path, authorization: null, body: pairBody(incorrectCode()) });
      if (response.answer.status !== 401) throw new CheckNotRun('auth-missing-token to pass');
      if (!/^bearer\b/i.test(String(response.answer.headers['www-authenticate'] ?? '')))
        throw new CheckFailed('the 401 response has no header WWW-Authenticate: Bearer', response);
    },
  },
  {
    ...required,
    id: 'auth-no-token-echo',
    title: 'No response repeats the token',
    clause: 'A token is in no response and no log.',
    operation: 'cpoPairOcpp',
    remedy: 'Remove what was sent from error messages, and debugging output from responses.',
    async run(kit) {
      const path = pairPath(kit.protocols[0]);
      const requests: Request[] = [
        { path, body: pairBody(incorrectCode()) },
        { path, body: '{' },
        { path: unpairPath(kit.protocols[0], unknownUid()) },
        { path, authorization: `Bearer ${kit.token}x`, body: pairBody(incorrectCode()) },
      ];
      for (const request of requests) {
        const response = await send(kit, request);
        const { headers, bytes } = response.answer;
        if (containsToken(JSON.stringify(headers) + bytes.toString('utf8'), kit.token))
          throw new CheckFailed('the response contains the token', response);
      }
    },
  },
];
