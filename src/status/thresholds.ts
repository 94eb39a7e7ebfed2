import { MOST_COUNTED } from '../retention/backlog';

/**
 * When the stored state needs a person, with the reasons. `docs/operations.md` (Status) has the same table, and the alerts in
 * `deploy/prometheus` use the same numbers, but where that table says otherwise.
 */
export const THRESHOLDS = {
  /** A replica writes every 10 s: it missed three times. */
  replicaSeenSeconds: 30,
  /** A fail-over takes up to 30 s. Until then long polls and revocations are only slower. */
  listenerDisconnectedSeconds: 30,
  /**
   * Hosts that run NTP differ by milliseconds, and the measurement errs by at most 0.25 s: a second means that NTP does not run. Signatures
   * of webhooks bear 5 minutes.
   */
  clockOffsetSeconds: 1,
  /** As many requests wait as the pool has connections: each waits for a whole statement of another one. */
  poolWaiting: 10,
  /** More than the time-outs of one fail-over, in which each connection of a pool has one at most. */
  databaseTimeouts: 20,
  /** So many of the latest calls to a CPO, at most 20 of the last 5 minutes, failed, and at least half of them. One is an accident. */
  failedCalls: 5,
  failedCallsShare: 0.5,
  /** A CPO that fails is retried at least every hour. */
  outboxOldestSeconds: 3_600,
  /** More than what one CPO's short outage leaves. At 2 calls at once a CPO takes some minutes for them. */
  outboxWaiting: 1_000,
  /** Events are published in less than a second; a fail-over takes up to 30 s. */
  eventsLagSeconds: 60,
  /** The first five attempts, in the first hour, bear a receiver's deployment. It is disabled after 120 h. */
  webhookFailingSeconds: 3_600,
  /** Owners have been warned for three weeks, and need days to replace a token. */
  tokenExpiresSeconds: 7 * 86_400,
  /** The job runs every minute. */
  erasureOldestSeconds: 3_600,
  /** As many as are counted. The job runs every ten minutes: fewer are what came due since. */
  retentionRows: MOST_COUNTED,
  /** From here the next length is close. One longer length is by design; when two lengths are full, codes are two digits longer. */
  codeSpaceUsed: 0.8,
  codeLengthsUsed: 2,
} as const;
