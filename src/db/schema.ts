import { migrations } from '../../migrations';
import type { DatabaseSchema } from './pool';
import { audit } from './schema/audit';
import { calls } from './schema/calls';
import { certificationResults, certificationRuns, observedRequests } from './schema/certification';
import {
  activeCodeCounts,
  codeNeighbours,
  codeNeighboursMissing,
  issuedCodeCounts,
  pairingCodes,
  userCodeIssues,
} from './schema/codes';
import { cpos } from './schema/cpos';
import { deployment } from './schema/deployment';
import { eventFeed, events } from './schema/events';
import { outbox } from './schema/outbox';
import {
  attempts,
  cpoTries,
  failedAttempts,
  idempotencyKeys,
  pairings,
  redemptionAttempts,
  redemptions,
} from './schema/pairings';
import { replicas } from './schema/replicas';
import { sandboxLimits, sandboxSignUps } from './schema/sandbox';
import { connectors, evses, stations } from './schema/stations';
import { tokens } from './schema/tokens';
import { erasures } from './schema/users';
import { webhookDeliveries, webhookEndpoints, webhookGaps, webhookLimits, webhookSecrets } from './schema/webhooks';

/** Lists every table and migration of the service. */
export const schema: DatabaseSchema = {
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
    eventFeed,
    redemptions,
    redemptionAttempts,
    outbox,
    cpoTries,
    failedAttempts,
    attempts,
    calls,
    idempotencyKeys,
    audit,
    deployment,
    erasures,
    webhookEndpoints,
    webhookSecrets,
    webhookDeliveries,
    webhookGaps,
    webhookLimits,
    sandboxSignUps,
    sandboxLimits,
    certificationRuns,
    certificationResults,
    observedRequests,
    replicas,
  ],
  migrations,
};
