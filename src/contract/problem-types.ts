import { sandboxProblems } from './sandbox-problem-types';

/**
 * Lists all problem types (RFC 9457). A new one needs an entry here and a response in openapi.yaml. The page of a problem type
 * shows its `remedy`.
 */
export const problems = {
  'malformed-request': [
    400,
    'Malformed request',
    'The request could not be read.',
    'Send well-formed HTTP and a body of valid JSON in UTF-8, nested at most 64 levels deep, without NUL characters or lone surrogates.',
  ],
  'invalid-request': [
    400,
    'Invalid request',
    'The request does not match the contract, see errors.',
    'Each entry of errors has a JSON Pointer to the invalid value and a message. See /docs for the contract.',
  ],
  'unsupported-protocol': [
    400,
    'Unsupported payload protocol',
    'Unsupported payload protocol.',
    'Use one of the protocols named in the message as the path segment before /pair.',
  ],
  'missing-token': [
    401,
    'Token missing',
    'This operation requires a bearer token.',
    'Send the header Authorization: Bearer <token>. A token in the query or the body does not count.',
  ],
  'invalid-token': [
    401,
    'Invalid token',
    'The bearer token is unknown, expired or revoked.',
    'Check that the complete token is sent once, after the word Bearer. Ask for a new token when it has expired.',
  ],
  'wrong-role': [
    403,
    'Wrong role',
    'This operation requires a token with another role.',
    'Use a token that begins with scsp_cpo_ for CPO operations, and one that begins with scsp_app_ for app operations.',
  ],
  'cpo-suspended': [
    403,
    'CPO suspended',
    'This CPO is suspended.',
    'Ask Jedlix for the reason and to resume the CPO. All pairings are kept.',
  ],
  'not-found': [
    404,
    'Not found',
    'Resource not found.',
    'Check the path, including letter case and trailing slash, and the id in it.',
  ],
  'incorrect-code': [
    404,
    'Incorrect pairing code',
    'Incorrect Code, please check the code and try again.',
    'Ask the customer to compare the code with the one in the app, or to request a new one. A code is valid for minutes and can be used once.',
  ],
  'unknown-station': [
    404,
    'Unknown station',
    'The specified charging station is not valid or does not exist.',
    'The uid is unknown, already unpaired, or paired by another CPO. No further action is needed.',
  ],
  'not-linked': [
    404,
    'Not linked',
    'The station was not paired with this CPO at that instant.',
    'Check uid, cpo_id and at. Ask again about an instant that is less than 10 seconds old: a pairing may just be committing.',
  ],
  'user-forgotten': [
    404,
    'User forgotten',
    'The user was forgotten during the call to the CPO. Nothing was stored.',
    'No action is needed: the CPO is notified that its station is not paired.',
  ],
  'method-not-allowed': [
    405,
    'Method not allowed',
    'This path does not support that method, see the Allow header.',
    'Use one of the methods in the Allow header.',
  ],
  'request-timeout': [
    408,
    'Request timeout',
    'The request did not arrive in time.',
    'Send the request again without pauses.',
  ],
  'station-already-paired': [
    409,
    'Station already paired',
    'A charging station with this uid is already paired.',
    'If an earlier request timed out, it may have succeeded, and this is the result of the retry. Otherwise unpair the station first. The code was not used up.',
  ],
  'cpo-unavailable': [
    409,
    'CPO unavailable',
    'This CPO is suspended or does not issue codes.',
    'An app: let the customer choose one of the CPOs that GET /v1/app/cpos returns. A CPO in a sandbox: set your endpoint first with PUT /v1/scsp/me/endpoint.',
  ],
  'code-already-used': [
    409,
    'Code already used',
    'The code has been used to pair a station and can no longer be cancelled.',
    'Get the code to see its pairing. To undo the pairing, unpair the station.',
  ],
  'idempotency-in-progress': [
    409,
    'Request in progress',
    'A request with this Idempotency-Key is still in progress.',
    'Wait as many seconds as the Retry-After header says, then send the same request again. It gets the response to the first one.',
  ],
  'too-many-endpoints': [
    409,
    'Too many endpoints',
    'This app already has 10 webhook endpoints.',
    'Delete an endpoint that is no longer needed, or change its url.',
  ],
  'redelivery-in-progress': [
    409,
    'Redelivery in progress',
    'A redelivery of this endpoint is still in progress.',
    'Wait until its events are queued; GET …/deliveries lists them. Then send the request again.',
  ],
  'endpoint-disabled': [
    409,
    'Endpoint disabled',
    'This webhook endpoint is disabled.',
    'Enable it first: PATCH it with {"status": "enabled"}.',
  ],
  'events-expired': [
    410,
    'Events expired',
    'The events after this position are not kept any more. Start again from a snapshot: GET /v1/links.',
    'Read all current links (GET /v1/links), then follow the events after its as_of. A position beyond the end has the same remedy: the database was restored to an earlier point.',
  ],
  'token-replaced': [
    409,
    'Token replaced',
    'This token was replaced before, and cannot be rotated again.',
    'Use the token that replaced it. If the response with that token was lost, ask Jedlix for a new one. If you did not rotate it, somebody else did: ask Jedlix to revoke it, which also revokes what replaced it.',
  ],
  'too-many-tokens': [
    409,
    'Too many tokens',
    'Three tokens that were replaced are still valid.',
    'Wait until one of them has expired: each is valid for its overlap, at most 168 hours. The token of the request remains valid.',
  ],
  'body-too-large': [
    413,
    'Body too large',
    'The body is larger than 65536 bytes.',
    'Send only the members that the contract describes.',
  ],
  'unsupported-media-type': [
    415,
    'Unsupported media type',
    'The body must be JSON: send Content-Type: application/json.',
    'Send Content-Type: application/json, UTF-8, and no Content-Encoding.',
  ],
  'expectation-failed': [
    417,
    'Expectation failed',
    'The Expect header can only be 100-continue.',
    'Omit the Expect header.',
  ],
  'idempotency-key-reused': [
    422,
    'Idempotency key reused',
    'This Idempotency-Key was used before with another body.',
    'Use a new key for each new request, and the same key and body for a retry.',
  ],
  'too-many-incorrect-codes': [
    429,
    'Too many incorrect codes',
    'Too many incorrect codes, please try again later.',
    'Wait as many seconds as the Retry-After header says. Until then a correct code is not accepted either.',
  ],
  'too-many-requests': [
    429,
    'Too many requests',
    'Too many of your requests are in flight, please try again.',
    'Wait as many seconds as the Retry-After header says, and send fewer concurrent requests.',
  ],
  'too-many-redemptions': [
    429,
    'Too many redemptions',
    'Too many CPO-issued codes were sent for this user, please try again later.',
    'Wait as many seconds as the Retry-After header says. Every request for a user counts, whatever its outcome.',
  ],
  'too-many-codes': [
    429,
    'Too many codes',
    'Too many pairing codes were issued for this user, please try again later.',
    'Wait as many seconds as the Retry-After header says. Cancelled and expired codes count too. An active code stays valid.',
  ],
  'headers-too-large': [
    431,
    'Headers too large',
    'The request headers are too large.',
    'Send fewer or shorter headers, at most 16 KiB in total.',
  ],
  'internal-error': [
    500,
    'Internal error',
    'Something went wrong on our side. Please quote the request_id when you report it.',
    'Send the request again later. If it was a pairing request, 409 means that the first one took effect.',
  ],
  'cpo-failed': [
    502,
    'CPO failed',
    'The CPO did not return a valid response.',
    'The message says what the CPO returned and what was wrong with it. Ask the customer to try a new code, and inform the CPO.',
  ],
  'cpo-timed-out': [
    504,
    'CPO timed out',
    'The CPO did not respond in time.',
    'The CPO may have used up the code. Ask the customer to request a new one.',
  ],
  unavailable: [
    503,
    'Unavailable',
    'The service cannot answer right now, please try again.',
    'Wait as many seconds as the Retry-After header says, then send the request again.',
  ],
  ...sandboxProblems,
} as const satisfies Record<string, readonly [status: number, title: string, message: string, remedy: string]>;

export type ProblemType = keyof typeof problems;
