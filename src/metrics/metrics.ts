import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Log } from '../log';
import { cpoMetrics } from './cpos';
import { createCpoLabel } from './labels';
import { pairingMetrics } from './pairing';
import { processMetrics } from './process';
import { requestMetrics } from './requests';
import { webhookMetrics } from './webhooks';

/** Functions that record business events, one for each: they write its log line and update its metrics. */
export type Metrics = ReturnType<typeof createMetrics>;

/** Creates the metrics of a process. docs/operations.md lists them, and a test compares. */
export function createMetrics(log: Log) {
  const registry = new Registry();
  const cpoLabel = createCpoLabel();
  return {
    registry,
    /** Registers the default metrics of Node.js; must be called once per process. */
    collectDefaults: () => collectDefaultMetrics({ register: registry }),
    ...requestMetrics(registry, log),
    ...pairingMetrics(registry, log, cpoLabel),
    ...cpoMetrics(registry, log, cpoLabel),
    ...webhookMetrics(registry, log),
    ...processMetrics(registry, log),
  };
}
