import { hkdfSync, randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { v7 } from 'uuid';
import type { Config } from './config';
import type { Chance, Keys } from './context';

/** Chance from the operating system's cryptographic source. */
export const chance: Chance = {
  bytes: randomBytes,
  digits: (count) => Array.from({ length: count }, () => randomInt(10)).join(''),
  uuid: () => v7(),
};

/** One key a purpose (HKDF, RFC 5869), so that none can stand in for another. */
export function deriveKeys(secret: string): Keys {
  const derive = (purpose: string) => Buffer.from(hkdfSync('sha256', secret, '', `scsp-pairing ${purpose}`, 32));
  return { pairingCode: derive('pairing code') };
}

/** SECRET_KEY, or outside production the one kept in `DATA_DIR/secret-key`, made on first use. */
export function secretKey(config: Config): string {
  if (config.secretKey !== undefined) return config.secretKey;
  const file = join(config.dataDir, 'secret-key');
  mkdirSync(config.dataDir, { recursive: true });
  try {
    writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(file, 'utf8');
}
