import { migrations } from '../../migrations';
import { audit } from '../audit/audit';
import type { Config } from '../config';
import { attachEmbedded, startEmbedded } from '../embedded-postgres/launcher';
import { deployment } from './deployment';
import type { DatabaseModel } from './pool';
import {
  activeCodeCounts,
  codeNeighbours,
  codeNeighboursMissing,
  issuedCodeCounts,
  pairingCodes,
  userCodeIssues,
} from './schema/codes';
import { cpos } from './schema/cpos';
import { outbox } from './schema/outbox';
import {
  attempts,
  cpoTries,
  events,
  failedAttempts,
  idempotencyKeys,
  pairings,
  redemptionAttempts,
  redemptions,
} from './schema/pairings';
import { connectors, evses, stations } from './schema/stations';
import { tokens } from './schema/tokens';
import { erasures } from './schema/users';

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
