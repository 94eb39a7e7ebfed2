import { deriveKeys } from '../../src/crypto/keys';
import { random } from '../../src/crypto/random';
import { createMetrics } from '../../src/metrics/metrics';
import { type Harness, recordedLog, SECRET_KEY } from './harness';

/** A context on the database of a service, with a log and metrics of its own. What listens to notifications cannot be tested with it. */
export function ownContext({ config, db }: Harness, stopping = new AbortController().signal) {
  const { log, lines } = recordedLog();
  const metrics = createMetrics(log);
  const keys = deriveKeys(SECRET_KEY);
  return { lines, metrics, ctx: { config, db, listener: undefined as never, log, metrics, random, keys, stopping } };
}
