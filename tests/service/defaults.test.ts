import { Server } from 'node:http';
import { requestDeadlines } from '../../src/db/batcher';
import { LOAD_LIMITS } from '../../src/http/load-shedding';
import { HEARTBEAT_TIMES } from '../../src/status/heartbeat';
import { READING_TIMES } from '../../src/status/shared-reading';
import { startHarness } from '../harness/harness';

/** Everywhere else tests have them shorter or smaller. */
describe('as it ships', () => {
  test('a server has these time-outs and bounds', async () => {
    const listening = jest.spyOn(Server.prototype, 'listen');
    const service = await startHarness();
    try {
      expect(listening.mock.contexts).toHaveLength(1);
      expect(listening.mock.contexts[0]).toMatchObject({
        headersTimeout: 5_000,
        requestTimeout: 15_000,
        keepAliveTimeout: 75_000,
        timeout: 45_000,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: 16_384,
        maxHeadersCount: 0,
        requireHostHeader: false,
        maxConnections: 10_000,
        httpAllowHalfOpen: true,
      });
      expect(service.config.limitInFlight).toBe(256);
    } finally {
      listening.mockRestore();
      await service.stop();
    }
  });

  test('a request that waits for a shared statement begins within 2 s and has its answer within 5 s', () => {
    const before = performance.now();
    const { startBy, answerBy } = requestDeadlines();
    const after = performance.now();
    expect(startBy).toBeGreaterThanOrEqual(before + 2_000);
    expect(startBy).toBeLessThanOrEqual(after + 2_000);
    expect(answerBy - startBy).toBe(2_900);
  });

  test('a replica writes its state every 10 s and at changes, and the stored state is read as often', () => {
    expect(HEARTBEAT_TIMES).toEqual({ checkMs: 1_000, everyMs: 10_000 });
    expect(READING_TIMES).toEqual({ everyMs: 10_000, waitMs: 1_500, keepMs: 60_000 });
  });

  test('a process takes so many requests at once', () => {
    expect(LOAD_LIMITS).toEqual({
      bodies: 2_048,
      bodiesPerCaller: 512,
      requests: 512,
      longPolls: 5_000,
      longPollsPerCaller: 2_500,
      pages: 256,
    });
  });
});
