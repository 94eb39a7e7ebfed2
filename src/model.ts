import { migrations } from '../migrations';
import {
  activeCodeCounts,
  codeNeighbours,
  codeNeighboursMissing,
  issuedCodeCounts,
  pairingCodes,
  userCodeIssues,
} from './codes/table';
import type { Config } from './config';
import { cpos } from './cpos/table';
import { audit } from './db/audit';
import type { DatabaseModel } from './db/database';
import { deployment } from './db/deployment';
import { attachEmbedded, startEmbedded } from './db/embedded';
import { outbox } from './outbox/table';
import {
  attempts,
  cpoTries,
  events,
  failedAttempts,
  idempotencyKeys,
  pairings,
  redemptionAttempts,
  redemptions,
} from './pairing/table';
import { connectors, evses, stations } from './stations/table';
import { tokens } from './tokens/table';
import { erasures } from './users/table';

/** Every table and migration of the service. */
export const model: DatabaseModel = {
  entities: [
    cpos,
    tokens,
    pairingCodes,
    codeNeighbours,
    codeNeighboursMissing,
    issuedCodeCounts,
    activeCodeCounts,
    userCodeIssues,
    pairings,
    stations,
    evses,
    connectors,
    events,
    redemptions,
    redemptionAttempts,
    outbox,
    cpoTries,
    failedAttempts,
    attempts,
    idempotencyKeys,
    audit,
    deployment,
    erasures,
  ],
  migrations,
};

/** The database of these settings for a command: the configured one, or the embedded one, running or not. */
export async function borrowDatabase(config: Config): Promise<{ url: string; giveBack(): Promise<void> }> {
  const running = config.directDatabaseUrl ?? (await attachEmbedded(config.dataDir));
  if (running !== undefined) return { url: running, giveBack: async () => {} };
  const postgres = await startEmbedded({ dir: config.dataDir });
  return { url: postgres.url, giveBack: () => postgres.stop() };
}
