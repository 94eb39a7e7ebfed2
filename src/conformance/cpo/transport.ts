import { mediaTypeOf } from '../../cpos/answer';
import type { CpoCheck } from './cpo-check';
import { type Answered, CheckFailed, CheckNotRun, type Exchange, isAnswered } from './exchange';
import type { GateId } from './gates';
import {
  exchange,
  expectStatus,
  incorrectCode,
  type Kit,
  once,
  pairBody,
  pairPath,
  send,
  unknownUid,
  unpairPath,
} from './kit';
import { judgeGate } from './preflight';

const NOT_LOOPBACK = 'a target that is not on loopback';

/** Returns the responses to a redemption of an incorrect code and to an unpair of an unknown station. */
const ordinary = (kit: Kit): Promise<Exchange[]> =>
  once(kit, 'ordinary requests', async () => [
    await exchange(kit, { path: pairPath(kit.protocols[0]), body: pairBody(incorrectCode()) }),
    await exchange(kit, { path: unpairPath(kit.protocols[0], unknownUid()) }),
  ]);

/** Creates a check that every ordinary response must pass. @param mistakeIn returns what is wrong with a response */
const ofEachResponse = (mistakeIn: (response: Answered) => string | undefined) => async (kit: Kit) => {
  const exchanges = await ordinary(kit);
  for (const one of exchanges) {
    if (!isAnswered(one)) throw new CheckNotRun('transport-answer-time to pass');
    const mistake = mistakeIn(one);
    if (mistake !== undefined) throw new CheckFailed(mistake, one);
  }
};

/** Creates a check of such a condition that does not apply to loopback. */
const ofGate = (id: GateId) => async (kit: Kit) => {
  if (kit.target.local) throw new CheckNotRun(NOT_LOOPBACK);
  judgeGate(kit, id);
};

/** Creates a check of such a condition that a response shows. */
export const ofFirstResponse = (id: GateId) => async (kit: Kit) => {
  judgeGate(kit, id);
  const [first] = await ordinary(kit);
  if (first === undefined || !isAnswered(first)) throw new CheckNotRun('transport-answer-time to pass');
};

function jsonMistake(response: Answered): string | undefined {
  const { answer } = response;
  if (redirectMistake(response) !== undefined) return undefined;
  if (mediaTypeOf(answer) !== 'application/json') return 'Content-Type is not application/json';
  if (answer.truncated || answer.headers['content-encoding'] !== undefined) return undefined;
  try {
    JSON.parse(answer.bytes.toString('utf8'));
    return undefined;
  } catch {
    return 'the body is not JSON';
  }
}

function utf8Mistake({ answer: { bytes, truncated, headers } }: Answered): string | undefined {
  if (truncated || headers['content-encoding'] !== undefined) return undefined;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return undefined;
  } catch {
    return 'the body is not valid UTF-8';
  }
}

function redirectMistake({ answer: { status } }: Answered): string | undefined {
  return status >= 300 && status < 400 ? `the response is a redirect (${status})` : undefined;
}

function encodingMistake({ answer: { headers } }: Answered): string | undefined {
  const encoding = String(headers['content-encoding'] ?? 'identity');
  return encoding.toLowerCase() === 'identity' ? undefined : 'the response has a Content-Encoding';
}

const required = { level: 'required', changes: false } as const;

export const transportChecks: readonly CpoCheck[] = [
  {
    ...required,
    id: 'transport-https',
    title: 'The address begins with https://',
    clause: 'The base URL of a CPO is https.',
    remedy: 'Serve the endpoint over https.',
    needs: NOT_LOOPBACK,
    run: ofGate('transport-https'),
  },
  {
    ...required,
    id: 'transport-address',
    title: 'Every address of the host is public',
    clause:
      'A private, loopback, link-local or metadata address is never called, at registration and again at each call.',
    remedy: 'Correct the DNS records of the host: no A or AAAA record may be private or special.',
    needs: NOT_LOOPBACK,
    run: ofGate('transport-address'),
  },
  {
    ...required,
    id: 'transport-connect',
    title: 'A connection is made within 5 seconds',
    clause: 'The service waits 5 s for a connection.',
    remedy:
      'Check that your backend runs, its address, the firewall (the service calls from the addresses listed at /docs) and the TLS handshake.',
    run: async (kit) => judgeGate(kit, 'transport-connect'),
  },
  {
    ...required,
    id: 'transport-certificate',
    title: 'The certificate is valid for the host',
    clause:
      'The service calls over https and accepts only certificates that are valid for the host and publicly trusted.',
    remedy: 'Install a certificate for this host with its intermediate certificates, and allow TLS 1.2 or later.',
    needs: NOT_LOOPBACK,
    run: ofGate('transport-certificate'),
  },
  {
    ...required,
    id: 'transport-base-url',
    title: 'The paths of the contract are served under the base URL',
    clause: 'The service calls {base_url}/v1/cpo/{payload-protocol}/pair and {base_url}/v1/cpo/…/{uid}/unpair.',
    remedy:
      'Correct the base URL: it is the part of your address before /v1/cpo. Check proxies that change the path, and that your backend serves these paths for POST.',
    run: ofFirstResponse('transport-base-url'),
  },
  {
    ...required,
    id: 'transport-answer-time',
    title: 'Requests are answered within 10 seconds',
    clause: 'Answer within 10 seconds.',
    operation: 'cpoPairOcpp',
    remedy: 'Answer faster, or find out why the connection is closed without a complete response.',
    async run(kit) {
      const failed = (await ordinary(kit)).find((one) => !isAnswered(one));
      if (failed !== undefined) throw new CheckFailed(failed.failure?.reason ?? 'no response', failed);
    },
  },
  {
    ...required,
    id: 'transport-no-redirect',
    title: 'Responses are not redirects',
    clause: 'Redirects are not followed.',
    remedy: 'Answer at the address itself. Register the base URL that a redirect would lead to.',
    run: ofEachResponse(redirectMistake),
  },
  {
    ...required,
    id: 'transport-json',
    title: 'Responses are JSON, and Content-Type says so',
    clause: 'Answer with Content-Type: application/json.',
    remedy:
      'Send `Content-Type: application/json` and a JSON body, with errors, too. A 404 without JSON is taken for a wrong base URL.',
    run: ofEachResponse(jsonMistake),
  },
  {
    ...required,
    id: 'transport-utf8',
    title: 'Responses are valid UTF-8',
    clause: 'A response is JSON in UTF-8.',
    remedy: 'Encode responses as UTF-8.',
    run: ofEachResponse(utf8Mistake),
  },
  {
    ...required,
    id: 'transport-size',
    title: 'Responses have at most 65,536 bytes',
    clause: 'A response has at most 64 KiB.',
    remedy: 'Send only what the contract asks for.',
    run: ofEachResponse(({ answer }) => (answer.truncated ? 'the response is larger than 65,536 bytes' : undefined)),
  },
  {
    ...required,
    id: 'transport-no-compression',
    title: 'Responses are not compressed',
    clause: 'Requests are sent with Accept-Encoding: identity; do not compress the response.',
    remedy: 'Switch compression off for requests with `Accept-Encoding: identity`.',
    run: ofEachResponse(encodingMistake),
  },
  {
    ...required,
    id: 'transport-unknown-headers',
    title: 'Unknown request headers are ignored',
    clause: 'The service may send further headers, such as traceparent; unknown ones are ignored.',
    operation: 'cpoPairOcpp',
    remedy: 'Ignore headers that you do not know.',
    async run(kit) {
      const headers = { 'x-scsp-conformance': 'unknown', baggage: 'key=value', tracestate: 'scsp=1' };
      const path = pairPath(kit.protocols[0]);
      const response = await send(kit, { path, headers, body: pairBody(incorrectCode()) });
      expectStatus(response, [404], 'an incorrect code in a request with unknown headers');
    },
  },
  {
    id: 'transport-allow',
    level: 'recommended',
    changes: false,
    title: 'GET of a path for POST is answered 405 with Allow',
    clause: 'A method that a path does not have is answered 405, with the methods that it has in Allow (RFC 9110).',
    remedy: 'Answer 405 with `Allow: POST`.',
    async run(kit) {
      const response = await send(kit, { method: 'GET', path: pairPath(kit.protocols[0]) });
      expectStatus(response, [405], 'GET');
      if (!/\bPOST\b/.test(String(response.answer.headers.allow ?? '')))
        throw new CheckFailed('the 405 response has no header Allow with POST', response);
    },
  },
];
