/** A caller that breaks one rule: edits of docs/examples/caller.ts, and the checks that see it. */
export type Mutant = {
  readonly name: string;
  /** The check that exists for this mistake. */
  readonly breaks: string;
  /** Other checks that see it, too. */
  readonly also?: readonly string[];
  readonly edits: readonly [string, string][];
};

const KEY = `, 'Idempotency-Key': \`"\${crypto.randomUUID()}"\``;
const FINAL = 'const isFinal = retryAfter === null && status < 500;';
const BODY = `const { type = '' } = (await response.json().catch(() => ({}))) as { type?: string };`;
const PAUSE = 'if (retryAfter !== null) pauseS = Number(retryAfter);';
const ENCODED = 'encodeURIComponent(uid)';
const SENT = '{ code, charging_station: station }';

export const mutants: readonly Mutant[] = [
  {
    name: 'sends the token in the address, too',
    breaks: 'client-token-in-header-only',
    edits: [['{path}`,', `{path}?access_token=\${SCSP_TOKEN}\`,`]],
  },
  {
    name: 'sends the token in the body, too',
    breaks: 'client-token-in-header-only',
    edits: [[SENT, '{ code, charging_station: station, access_token: process.env.SCSP_TOKEN }']],
  },
  {
    name: 'sends the token in another header, too',
    breaks: 'client-token-in-header-only',
    edits: [['...headers }', `'X-Api-Key': String(SCSP_TOKEN), ...headers }`]],
  },
  {
    name: 'sends JSON as text',
    breaks: 'client-json',
    edits: [[`'Content-Type': 'application/json'`, `'Content-Type': 'text/plain'`]],
  },
  {
    name: 'sends a voltage as a string',
    breaks: 'client-body-valid',
    edits: [['max_voltage: 220', `max_voltage: '220'`]],
  },
  {
    name: 'sends the same evse_id twice',
    breaks: 'client-body-valid',
    edits: [['evses: [{ evse_id: 1', 'evses: [{ evse_id: 1, connectors }, { evse_id: 1']],
  },
  {
    name: 'sends the code as a number',
    breaks: 'client-code-as-string',
    also: ['client-body-valid'],
    edits: [[SENT, '{ code: Number(code), charging_station: station }']],
  },
  {
    name: 'loses the leading zeros',
    breaks: 'client-code-as-string',
    edits: [[SENT, '{ code: String(Number(code)), charging_station: station }']],
  },
  {
    name: 'sends the same Idempotency-Key always',
    breaks: 'client-key-not-reused',
    edits: [['crypto.randomUUID()', `'always'`]],
  },
  {
    name: 'sends no Idempotency-Key',
    breaks: 'client-idempotency-key',
    also: ['client-503-repeated'],
    edits: [[KEY, '']],
  },
  {
    name: 'does not encode the uid',
    breaks: 'client-uid-encoded',
    edits: [[ENCODED, 'uid']],
  },
  {
    name: 'encodes the uid twice',
    breaks: 'client-uid-encoded',
    edits: [[ENCODED, `encodeURIComponent(${ENCODED})`]],
  },
  {
    name: 'repeats a 404 on pair',
    breaks: 'client-404-final',
    edits: [[FINAL, FINAL.replace('500', '500 && (status !== 404 || body === undefined)')]],
  },
  {
    name: 'repeats a 409',
    breaks: 'client-409-final',
    edits: [[FINAL, FINAL.replace('500', '500 && status !== 409')]],
  },
  {
    name: 'repeats a 404 on unpair',
    breaks: 'client-unpair-404-final',
    edits: [[FINAL, FINAL.replace('500', '500 && (status !== 404 || body !== undefined)')]],
  },
  {
    name: 'repeats a 429 at once',
    breaks: 'client-retry-after-429',
    edits: [[PAUSE, `${PAUSE} if (status === 429) pauseS = 0.1;`]],
  },
  {
    name: 'repeats a 503 at once',
    breaks: 'client-retry-after-503',
    edits: [[PAUSE, `${PAUSE} if (status === 503) pauseS = 0.1;`]],
  },
  {
    name: 'gives up at a 503',
    breaks: 'client-503-repeated',
    edits: [[FINAL, 'const isFinal = retryAfter === null || status === 503;']],
  },
  {
    name: 'repeats with a new Idempotency-Key',
    breaks: 'client-lost-answer',
    also: ['client-503-repeated'],
    edits: [['...headers }', `...headers, ...(body && { 'Idempotency-Key': crypto.randomUUID() }) }`]],
  },
  {
    name: 'gives up when an answer is lost',
    breaks: 'client-lost-answer',
    edits: [['if (attempt === ATTEMPTS) throw error;', 'throw error;']],
  },
  {
    name: 'takes the 409 after a lost answer as a failure',
    breaks: 'client-lost-answer',
    also: ['client-idempotency-key', 'client-503-repeated'],
    edits: [
      [KEY, ''],
      [`mayBeRepetition ? 'paired' : 'the station is paired already'`, `'the station is paired already'`],
    ],
  },
  {
    name: 'does not wait for a slow answer',
    breaks: 'client-waits-10-s',
    edits: [['timeout(DEADLINE_MS)', `timeout(body?.includes('000200') ? 300 : DEADLINE_MS)`]],
  },
  {
    name: 'follows redirects',
    breaks: 'client-no-redirect',
    edits: [[`redirect: 'manual'`, `redirect: 'follow'`]],
  },
  {
    name: 'repeats a request when the answer has new members',
    breaks: 'client-new-members',
    edits: [
      [
        BODY,
        `const { type = '', ...others } = await response.json().catch(() => ({})); if ('added_later' in others) throw others;`,
      ],
    ],
  },
  {
    name: 'takes an answer with new members as a failure',
    breaks: 'client-new-members',
    edits: [
      [
        BODY,
        `const { type = '', ...others } = await response.json().catch(() => ({})); if ('added_later' in others) return { status: 500, type, mayBeRepetition };`,
      ],
    ],
  },
  {
    name: 'knows a success by its message',
    breaks: 'client-message-not-parsed',
    edits: [
      [
        BODY,
        `const { type = '', message = '' } = await response.json().catch(() => ({})); if (status === 200 && !/success/.test(message)) return { status: 500, type, mayBeRepetition };`,
      ],
    ],
  },
  {
    name: 'knows an incorrect code by its message',
    breaks: 'client-message-not-parsed',
    edits: [
      [BODY, BODY.replace(`type = ''`, `type = '', message = ''`)],
      [FINAL, FINAL.replace('500', '500 && (status !== 404 || body === undefined || /Incorrect/.test(message))')],
    ],
  },
];
