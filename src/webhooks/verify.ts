import { createHmac } from 'node:crypto';

const PREFIX = 'whsec_';
/** The lengths of a key that Standard Webhooks allows, in bytes. */
const KEY_BYTES = { min: 24, max: 64 };
/** How far the timestamp of an attempt may be from the time of the receiver, in seconds. */
const TOLERANCE_S = 300;
const SIGNED = ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const;

/** Headers by their names in lower case. */
export type ReceivedHeaders = ReadonlyMap<string, string>;

export type Verification =
  | { readonly valid: true; readonly id: string; readonly ageSeconds: number }
  | { readonly valid: false; readonly mistakes: readonly string[] };

/**
 * Verifies a webhook as a receiver must (Standard Webhooks), and names what is wrong otherwise. A mistake is stated as certain
 * only if the signature matches without it.
 * @param now the time of the receiver, in ms since the epoch
 */
export function verifyWebhook(secret: string, headers: ReceivedHeaders, body: Buffer, now: number): Verification {
  const [id, timestamp, signature] = SIGNED.map((name) => headers.get(name) || undefined);
  if (id === undefined || timestamp === undefined || signature === undefined)
    return { valid: false, mistakes: missingHeaders(headers) };
  const seconds = readTimestamp(timestamp);
  if (typeof seconds === 'string') return { valid: false, mistakes: [seconds] };
  const signatures = readSignatures(signature);
  if (typeof signatures === 'string') return { valid: false, mistakes: [signatures] };

  const ageSeconds = Math.floor(now / 1_000) - seconds;
  const mistakes = mistakesIn({ secret, id, timestamp, signatures, body });
  const age = ageMistake(ageSeconds, mistakes.length === 0);
  if (age !== undefined) mistakes.push(age);
  return mistakes.length === 0 ? { valid: true, id, ageSeconds } : { valid: false, mistakes };
}

/** Returns why a text is not a secret of Standard Webhooks, or undefined. The reason does not contain the text. */
export function secretMistake(secret: string): string | undefined {
  if (/^["'].*["']$/.test(secret)) return 'the secret is in quotes: remove them';
  if (/^scsp_(cpo|app|ingest)_/.test(secret))
    return `the secret is a bearer token: a secret begins with ${PREFIX}, and POST /v1/app/webhook-endpoints returns it`;
  if (/^v\d\w?,/.test(secret))
    return `the secret begins with v1,: that is the prefix of a signature. A secret begins with ${PREFIX}`;
  if (/\s/.test(secret)) return 'the secret contains white space: it must be one word';
  if (!secret.startsWith(PREFIX)) return `the secret does not begin with ${PREFIX}: use it as it was shown`;
  const encoded = secret.slice(PREFIX.length);
  if (/^[\w-]+=*$/.test(encoded) && /[_-]/.test(encoded))
    return `the secret is base64url (it has - or _): after ${PREFIX} it must be base64, as it was shown`;
  if (!isBase64(encoded)) return `the secret is not base64 after ${PREFIX}: it is cut off or has been changed`;
  const { length } = Buffer.from(encoded, 'base64');
  return length < KEY_BYTES.min || length > KEY_BYTES.max
    ? `the secret has ${length} bytes instead of ${KEY_BYTES.min} to ${KEY_BYTES.max}: it is cut off or has been changed`
    : undefined;
}

/** Returns whether a text is base64 (RFC 4648, section 4), with padding. */
const isBase64 = (text: string) => text !== '' && Buffer.from(text, 'base64').toString('base64') === text;

type Signed = {
  readonly secret: string;
  readonly id: string;
  readonly timestamp: string;
  readonly signatures: readonly string[];
  readonly body: Buffer;
};

/** A variant of the secret or the body, and what is wrong if the signature matches with it. */
type Variant<T> = { readonly value: T; readonly mistake: string | undefined };

function mistakesIn({ secret, id, timestamp, signatures, body }: Signed): string[] {
  const matches = (key: Buffer, content: Buffer) => signatures.includes(sign(key, id, timestamp, content));
  // The variants without a mistake come first.
  for (const content of bodyVariants(body))
    for (const key of keyVariants(secret)) {
      if (key.value.length === 0 || !matches(key.value, content.value)) continue;
      return [key.mistake, content.mistake].filter((mistake) => mistake !== undefined);
    }
  return unexplained(secret, id, body);
}

function sign(key: Buffer, id: string, timestamp: string, body: Buffer): string {
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
}

function keyVariants(secret: string): Variant<Buffer>[] {
  const unquoted = secret.replace(/^["']|["']$/g, '').replace(/\s/g, '');
  const bare = unquoted.replace(/^(v\d\w?,)?(whsec_)?/, '');
  const plainText = `the signature was made with the secret as plain text: the key is what follows ${PREFIX}, decoded from base64`;
  return [
    { value: Buffer.from(bare, 'base64'), mistake: secretMistake(secret) },
    { value: Buffer.from(secret), mistake: plainText },
    { value: Buffer.from(bare), mistake: plainText },
    { value: Buffer.from(PREFIX + bare), mistake: plainText },
  ];
}

function bodyVariants(body: Buffer): Variant<Buffer>[] {
  const text = body.toString();
  const compact = compactJson(text);
  const variant = (value: string, mistake: string) => ({ value: Buffer.from(value), mistake });
  return [
    { value: body, mistake: undefined },
    variant(text.replace(/\r?\n$/, ''), 'the body has a line break at its end that was not sent'),
    variant(`${text}\n`, 'the body lacks the line break at its end that was sent'),
    variant(text.replace(/^\uFEFF/, ''), 'the body begins with a byte order mark that was not sent'),
    variant(text.replaceAll('\r\n', '\n'), 'the line breaks of the body were changed from LF to CRLF'),
    ...(compact === undefined
      ? []
      : [
          variant(
            compact,
            'the body was serialised again: the signature matches the same JSON without white space. Verify the raw body, before anything parses it',
          ),
        ]),
  ];
}

function compactJson(text: string): string | undefined {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Returns what can be said if no variant matches. */
function unexplained(secret: string, id: string, body: Buffer): string[] {
  const mistake = secretMistake(secret);
  if (mistake !== undefined) return [mistake, 'the signature does not match'];
  const text = body.toString();
  const compact = compactJson(text);
  if (text.trim() === '') return ['the body is empty: the framework has consumed it. Verify the raw body'];
  if (compact === undefined)
    return ['the signature does not match, and the body is not JSON: it is cut off or altered. Verify the raw body'];
  const bodyId: unknown = Reflect.get(Object(JSON.parse(text)), 'id');
  if (bodyId !== id)
    return ['the signature does not match: the id in the body is not webhook-id, so they are of different deliveries'];
  if (compact !== text)
    return [
      'the signature does not match, and the body is not as it was sent: this service sends JSON without white space. It was serialised again or altered. Verify the raw body, before anything parses it',
    ];
  return [
    'the signature does not match. Either the secret is wrong (that of another endpoint, or one that was replaced), or a value in the body or webhook-id or webhook-timestamp was altered. Compare the secret with the one that was shown when the endpoint was created or its secret rotated, and verify the raw body, before anything parses it',
  ];
}

function missingHeaders(headers: ReceivedHeaders): string[] {
  const names = [...headers.keys()];
  const missing = SIGNED.filter((name) => !headers.get(name)).join(', ');
  const renamed = names.find((name) => /^(http_)?webhook_(id|timestamp|signature)$/.test(name));
  if (renamed !== undefined)
    return [`headers are missing: ${missing}. ${renamed} is a variable of the web server: write the header's own name`];
  const other = names.find((name) => !SIGNED.some((signed) => signed === name) && /(signature|^svix-)/.test(name));
  return [
    other === undefined
      ? `headers are missing: ${missing}`
      : `headers are missing: ${missing}. ${other} belongs to another scheme: this service signs as Standard Webhooks does`,
  ];
}

function readTimestamp(timestamp: string): number | string {
  if (!/^\d+$/.test(timestamp)) return 'webhook-timestamp is not a number of seconds since the epoch';
  return timestamp.length > 11
    ? 'webhook-timestamp is in milliseconds: it is sent in seconds and must not be converted'
    : Number(timestamp);
}

/** Returns whether a text is 32 bytes in base64, as an HMAC-SHA-256 is. */
const isSignature = (text: string) => /^[A-Za-z0-9+/]{43}=$/.test(text);

/** Returns the `v1` signatures of a header, or what is wrong with it. */
function readSignatures(header: string): readonly string[] | string {
  const parts = header.split(/ +/);
  const v1 = parts.flatMap((part) => /^v1,(.+)$/.exec(part)?.slice(1) ?? []);
  if (v1.some(isSignature)) return v1;
  if (v1.some((value) => /^[0-9a-f]{64}$/i.test(value)))
    return 'webhook-signature is hexadecimal: a v1 signature is base64';
  if (v1.length > 0) return 'webhook-signature is not 32 bytes in base64 after v1,: it is cut off or altered';
  const version = parts.map((part) => /^(v\w+),/.exec(part)?.[1]).find((found) => found !== undefined);
  if (version !== undefined) return `webhook-signature has a signature of the scheme ${version} only: expected v1`;
  if (parts.some(isSignature)) return 'webhook-signature lacks the prefix v1,: give the header as it was received';
  return 'webhook-signature is of another scheme: expected v1, and a signature in base64';
}

function ageMistake(ageSeconds: number, signatureMatches: boolean): string | undefined {
  if (Math.abs(ageSeconds) <= TOLERANCE_S) return undefined;
  const signature = signatureMatches ? ' The signature itself matches.' : '';
  return ageSeconds > 0
    ? `webhook-timestamp is ${duration(ageSeconds)} old: receivers reject what is older than 5 minutes. Verify at once, and check the clock.${signature}`
    : `webhook-timestamp is ${duration(-ageSeconds)} in the future: receivers reject more than 5 minutes. Check the clock.${signature}`;
}

function duration(seconds: number): string {
  const [size, unit] = (
    [
      [86_400, 'day'],
      [3_600, 'hour'],
      [60, 'minute'],
    ] as const
  ).find(([length]) => seconds >= length) ?? [1, 'second'];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
