import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { endStarted } from '../harness/clean-up';
// Its hooks (a test fails for an answer that the contract does not declare) hold for all files of a suite if they are registered first.
import '../harness/harness';

const TESTS = join(__dirname, '..');

/** The folders that each suite runs. Add a folder where its subject fits, or to a quick suite: all take about two minutes. */
export const SUITES = {
  database: ['db', 'retention'],
  site: ['site'],
  pairing: ['attempts', 'calls', 'codes', 'pairing', 'stations', 'tokens', 'users'],
  programs: ['cli', 'embedded-postgres', 'status'],
  events: ['delivery', 'events', 'links', 'outbound', 'outbox', 'webhooks'],
  service: ['repository', 'service'],
  http: ['contract', 'crypto', 'http', 'protocols'],
  sandbox: ['sandbox'],
  conformance: ['conformance'],
} as const;

const filesOf = (folder: string) =>
  readdirSync(join(TESTS, folder), { recursive: true })
    .map((file) => join(folder, String(file)))
    .filter((file) => file.endsWith('.test.ts') && !file.endsWith('.alone.test.ts'))
    .sort();

/**
 * Runs the test files of a suite with the same modules, one after the other. Jest would load all modules again for each file, and
 * the service would compile its validators again: about 5 s a file (docs/design/test-suites.md).
 */
export function runTogether(suite: keyof typeof SUITES): void {
  for (const file of SUITES[suite].flatMap(filesOf))
    describe(file, () => {
      afterAll(endStarted);
      require(join(TESTS, file));
    });
}
