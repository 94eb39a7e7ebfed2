/**
 * Lists the keys of all advisory locks of the service. The numbers are arbitrary, but every replica and version must use the
 * same ones; other programs on the same database must not use them.
 */
export const ADVISORY_LOCKS = {
  /** Versions up to 0.1 run migrations under this one, and wait for it in a statement. */
  formerMigration: 7_305_001,
  /** Taken by the SQL function `scsp_issue_codes_v3`: codes are issued one transaction at a time. */
  issueCodes: 7_305_002,
  /** With a second key, the hash of the user: one redemption of a user at a time passes the limits. */
  redemption: 7_305_004,
  /** One replica at a time deletes expired rows. */
  retention: 7_305_005,
  /** One replica at a time claims notifications. */
  outboxClaim: 7_305_007,
  /** Taken by the SQL function `scsp_claim_deliveries_v1`: one replica at a time claims webhook deliveries. */
  webhookClaim: 7_305_008,
  /** With a second key, the hash of the app: one webhook endpoint of an app at a time is created. */
  webhookCreate: 7_305_009,
  /** One process at a time runs migrations. */
  migration: 7_305_010,
  /** Taken by the SQL function `scsp_expire_codes_v3`: one replica at a time expires codes. */
  expireCodes: 7_305_011,
  /** One self-service CPO of a sandbox deployment at a time is created. */
  sandboxSignUp: 7_305_012,
  /** One run of the checks of a CPO's endpoint at a time is started, in a sandbox deployment. */
  certificationStart: 7_305_013,
} as const;
