import crypto from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfig } from '../../src/config';
import type { Keys } from '../../src/crypto/keys';
import { deriveKeys, secretKey } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { seal, unseal } from '../../src/crypto/sealed';

const SECRET = 'a secret key, and of 32 characters or more';
const PREVIOUS = 'the one before it, also of 32 characters or more';

/** Every key among the derived ones, by where it is. */
function everyKey(value: unknown, place = ''): [string, string][] {
  if (value instanceof crypto.KeyObject) return [[place, value.export().toString('hex')]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => everyKey(inner, `${place}/${name}`));
}

test('each purpose has a key of its own, and so has each secret', () => {
  const keys = everyKey(deriveKeys(SECRET, PREVIOUS));
  expect(keys.map(([place]) => place)).toEqual(
    expect.arrayContaining([
      '/pairingCode/0',
      '/pairingCode/1',
      '/idempotency/0',
      '/idempotency/1',
      '/subject/0',
      '/subject/1',
      '/form/0',
      '/form/1',
      '/sealing/0/key',
      '/sealing/1/key',
    ]),
  );
  for (const [, key] of keys) expect(key).toMatch(/^[0-9a-f]{64}$/);
  expect(new Set(keys.map(([, key]) => key)).size).toBe(keys.length);
});

test('a version derives the keys of the one before: codes that are out and stored tokens go on to work', () => {
  const { pairingCode, sealing, idempotency } = deriveKeys(SECRET);
  const beginnings = [pairingCode[0], sealing[0]?.key, idempotency[0]].map((key) =>
    key?.export().toString('hex').slice(0, 16),
  );
  expect(beginnings).toEqual(['ade0472c442551ec', '4df86a7e99c91b1c', 'beb596eade081e3e']);
});

test('tokens and keys are made of bytes from the cryptographic source', () => {
  expect(random.bytes).toBe(crypto.randomBytes);
});

describe('what is sealed', () => {
  const keys = deriveKeys(SECRET);

  test('is sealed differently each time: a nonce that repeats would give the key away', () => {
    const sealed = Array.from({ length: 100 }, () => seal(keys, 'token', 'owner').bytes);
    expect(new Set(sealed.map((bytes) => bytes.subarray(0, 12).toString('hex'))).size).toBe(sealed.length);
    for (const bytes of sealed) expect(bytes.toString('latin1')).not.toContain('token');
  });

  test('opens for its owner, under its key and unchanged, or not at all', () => {
    const sealed = seal(keys, 'token', 'owner');
    expect(unseal(keys, sealed, 'owner')).toBe('token');
    const changed = (at: number) => {
      const bytes = Buffer.from(sealed.bytes);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      return { ...sealed, bytes };
    };
    expect(() => unseal(keys, sealed, 'another owner')).toThrow();
    for (let at = 0; at < sealed.bytes.length; at++) expect(() => unseal(keys, changed(at), 'owner')).toThrow();
    const forged: Keys = {
      ...keys,
      sealing: deriveKeys(PREVIOUS).sealing.map((key) => ({ ...key, id: sealed.keyId })),
    };
    expect(() => unseal(forged, sealed, 'owner')).toThrow();
  });
});

test('the key that the sandbox makes is its own, is kept, and only its owner may read it', () => {
  const folders = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'scsp-key-')));
  const [one, other] = folders.map((DATA_DIR) => readConfig({ DATA_DIR }));
  try {
    if (one === undefined || other === undefined) throw new TypeError('no settings');
    const made = secretKey(one);
    expect(made).toMatch(/^[\w-]{43}$/);
    expect(secretKey(one)).toBe(made);
    expect(secretKey(other)).not.toBe(made);
    expect(statSync(join(one.dataDir, 'secret-key')).mode & 0o777).toBe(0o600);
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true });
  }
});
