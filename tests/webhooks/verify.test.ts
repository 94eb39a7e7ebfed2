import { Webhook } from 'standardwebhooks';
import { random } from '../../src/crypto/random';
import { newWebhookSecret, signedHeaders } from '../../src/webhooks/signature';
import { secretMistake, verifyWebhook } from '../../src/webhooks/verify';

const secret = newWebhookSecret(random);
const ID = '019370a4-8c3e-7f74-9b1c-5d6e7f8a9b01';
const NOW = Date.parse('2026-11-28T12:55:19.123Z');
const event = {
  id: ID,
  type: 'pairing.erased',
  timestamp: '2026-11-28T12:55:19.000Z',
  position: '7',
  data: { pairing_id: 'é' },
};
const BODY = JSON.stringify(event);

type Sent = { secret?: string; sentBody?: string; at?: number; changed?: Record<string, string | undefined> };

/** The headers of a webhook; `changed` are those that did not arrive as they were sent. */
function headersOf({ secret: key = secret, sentBody = BODY, at = NOW, changed = {} }: Sent = {}) {
  const headers = Object.entries({ ...signedHeaders([key], ID, at, sentBody), ...changed });
  return new Map(headers.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}

const verify = (sent: Sent = {}, { given = secret, body = BODY } = {}) =>
  verifyWebhook(given, headersOf(sent), Buffer.from(body), NOW);
const invalid = (...words: string[]) => ({
  valid: false,
  mistakes: words.map((word) => expect.stringContaining(word)),
});

test('what signedHeaders signs is valid, here and with the stock library', () => {
  expect(verify()).toEqual({ valid: true, id: ID, ageSeconds: 0 });
  const at = Date.now();
  expect(new Webhook(secret).verify(BODY, Object.fromEntries(headersOf({ at })))).toEqual(event);
});

test('any of several signatures suffices, so that a secret can be rotated', () => {
  const other = newWebhookSecret(random);
  const headers = new Map(Object.entries(signedHeaders([other, secret], ID, NOW, BODY)));
  headers.set('webhook-signature', `v1a,AAAA ${headers.get('webhook-signature')}`);
  expect(verifyWebhook(secret, headers, Buffer.from(BODY), NOW).valid).toBe(true);
});

describe('a mistake in the secret is named for certain if the signature matches without it', () => {
  const bare = secret.slice('whsec_'.length);
  test.each([
    ['without its prefix', bare, 'does not begin with whsec_'],
    ['with the prefix of a signature', `v1,${secret}`, 'begins with v1,'],
    ['in quotes', `"${secret}"`, 'in quotes'],
    ['in two lines', `${secret.slice(0, 20)}\n${secret.slice(20)}`, 'white space'],
    ['without its padding', secret.replace(/=+$/, ''), 'not base64'],
  ])('%s', (_what, given, words) => expect(verify({}, { given })).toEqual(invalid(words)));

  test('used as plain text', () => {
    const base64 = (text: string) => `whsec_${Buffer.from(text).toString('base64')}`;
    for (const key of [secret, bare]) expect(verify({ secret: base64(key) })).toEqual(invalid('secret as plain text'));
  });
});

test.each([
  ['scsp_app_x', 'is a bearer token'],
  ['whsec_', 'not base64'],
  ['whsec_ä', 'not base64'],
  [`whsec_${'-_'.repeat(22)}`, 'base64url'],
  ['whsec_AAAA', 'has 3 bytes instead of 24 to 64'],
])('the secret %s is none, and the reason is named', (given, words) => {
  expect(secretMistake(given)).toContain(words);
  expect(verify({}, { given })).toEqual(invalid(words, 'the signature does not match'));
});

test('a good secret has no mistake', () => expect(secretMistake(secret)).toBeUndefined());

test('another secret, or a value in the body that was altered, are what is left to check', () => {
  const words = invalid('Either the secret is wrong');
  expect(verify({}, { given: newWebhookSecret(random) })).toEqual(words);
  expect(verify({}, { body: BODY.replace('é', 'e') })).toEqual(words);
});

describe('a body that is not as it was sent', () => {
  test.each([
    ['a line break at its end', `${BODY}\n`, 'has a line break at its end'],
    ['a byte order mark', `\uFEFF${BODY}`, 'byte order mark'],
    ['white space between its members', JSON.stringify(event, undefined, 2), 'was serialised again'],
    ['escaped characters', BODY.replace('é', '\\u00e9'), 'was serialised again'],
  ])('%s: named for certain', (_what, body, words) => expect(verify({}, { body })).toEqual(invalid(words)));

  test.each([
    ['is empty', '', 'the body is empty'],
    ['is cut off', BODY.slice(0, -5), 'not JSON'],
    [
      'has members in another order and white space',
      JSON.stringify({ data: event.data, type: event.type, id: event.id }, undefined, 1),
      'was serialised again or altered',
    ],
    ['is that of another event', BODY.replace(ID, ID.replace(/1$/, '2')), 'of different deliveries'],
  ])('%s: said with what to check', (_what, body, words) => expect(verify({}, { body })).toEqual(invalid(words)));
});

test.each([
  [301, 'webhook-timestamp is 5 minutes old'],
  [7_300, 'webhook-timestamp is 2 hours old'],
  [90_000, 'webhook-timestamp is 1 day old'],
  [-301, 'webhook-timestamp is 5 minutes in the future'],
])('a timestamp of %i seconds ago: %s', (seconds, words) => {
  const result = verify({ at: NOW - seconds * 1_000 });
  expect(result).toEqual(invalid(words));
  expect(JSON.stringify(result)).toContain('The signature itself matches.');
});

test('a timestamp of at most 5 minutes ago or ahead is accepted', () => {
  for (const seconds of [300, -300]) expect(verify({ at: NOW - seconds * 1_000 }).valid).toBe(true);
});

test('a timestamp that is too old and a wrong secret are two mistakes', () => {
  const result = verify({ at: NOW - 400_000 }, { given: newWebhookSecret(random) });
  expect(result).toEqual(invalid('Either the secret is wrong', 'webhook-timestamp is 6 minutes old'));
  expect(JSON.stringify(result)).not.toContain('The signature itself matches.');
});

describe('headers', () => {
  test.each([
    ['no id', { 'webhook-id': undefined }, 'headers are missing: webhook-id'],
    ['an empty timestamp', { 'webhook-timestamp': '' }, 'headers are missing: webhook-timestamp'],
    ['a timestamp in milliseconds', { 'webhook-timestamp': String(NOW) }, 'in milliseconds'],
    ['a timestamp that is a date', { 'webhook-timestamp': '2026-11-28T12:55:19Z' }, 'not a number of seconds'],
    ['the headers of Svix', { 'webhook-id': undefined, 'svix-id': ID }, 'svix-id belongs to another scheme'],
    [
      'those of GitHub',
      { 'webhook-signature': undefined, 'x-hub-signature-256': 'sha256=00' },
      'x-hub-signature-256 belongs to another scheme',
    ],
    ['variables of CGI', { 'webhook-id': undefined, http_webhook_id: ID }, "write the header's own name"],
    ['a signature of v1a', { 'webhook-signature': 'v1a,AAAA' }, 'of the scheme v1a only'],
    ['a signature in hexadecimal', { 'webhook-signature': `v1,${'0f'.repeat(32)}` }, 'hexadecimal'],
    ['a signature that is cut off', { 'webhook-signature': 'v1,AAA' }, 'not 32 bytes in base64 after v1,'],
    ['a signature without v1,', { 'webhook-signature': `${'A'.repeat(43)}=` }, 'lacks the prefix v1,'],
    ['a signature as Stripe signs', { 'webhook-signature': 't=1,v1=00' }, 'of another scheme'],
  ])('%s', (_what, changed, words) => expect(verify({ changed })).toEqual(invalid(words)));
});

test('no mistake repeats the secret', () => {
  for (const given of [secret, secret.slice(6), `v1,${secret}`, `"${secret}"`, `${secret}x`, newWebhookSecret(random)])
    expect(JSON.stringify(verify({ at: 0 }, { given }))).not.toContain(given.slice(-20));
});
