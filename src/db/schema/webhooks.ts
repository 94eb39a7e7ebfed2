import { EntitySchema } from 'typeorm';

export type DisabledReason = 'app' | 'operator' | 'gone' | 'failing' | 'no-live-token';

export type WebhookEndpointRow = {
  id: string;
  appName: string;
  url: string;
  types: string[] | null;
  description: string | null;
  status: 'enabled' | 'disabled';
  disabledReason: DisabledReason | null;
  createdAt: Date;
  failures: number;
  failingSince: Date | null;
  announcedAt: Date | null;
  lastSuccessAt: Date | null;
  disabledAfter: string | null;
  redeliverAfter: string | null;
  redeliverUntil: string | null;
  redeliverSince: Date | null;
  deletedAt: Date | null;
};

export const webhookEndpoints = new EntitySchema<WebhookEndpointRow>({
  name: 'webhook_endpoints',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'webhook_endpoints_pkey' },
    appName: { name: 'app_name', type: 'text' },
    url: { type: 'text' },
    types: { type: 'text', array: true, nullable: true },
    description: { type: 'text', nullable: true },
    status: { type: 'text', default: 'enabled' },
    disabledReason: { name: 'disabled_reason', type: 'text', nullable: true },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    failures: { type: 'integer', default: 0 },
    failingSince: { name: 'failing_since', type: 'timestamptz', precision: 3, nullable: true },
    announcedAt: { name: 'announced_at', type: 'timestamptz', precision: 3, nullable: true },
    lastSuccessAt: { name: 'last_success_at', type: 'timestamptz', precision: 3, nullable: true },
    disabledAfter: { name: 'disabled_after', type: 'bigint', nullable: true },
    redeliverAfter: { name: 'redeliver_after', type: 'bigint', nullable: true },
    redeliverUntil: { name: 'redeliver_until', type: 'bigint', nullable: true },
    redeliverSince: { name: 'redeliver_since', type: 'timestamptz', precision: 3, nullable: true },
    deletedAt: { name: 'deleted_at', type: 'timestamptz', precision: 3, nullable: true },
  },
  indices: [{ name: 'webhook_endpoints_app_idx', columns: ['appName', 'id'], where: 'deleted_at is null' }],
  checks: [{ name: 'webhook_endpoints_status_check', expression: `status in ('enabled', 'disabled')` }],
});

const endpointKey = (table: string) => ({
  name: `${table}_endpoint_id_fkey`,
  target: 'webhook_endpoints',
  columnNames: ['endpointId'],
  referencedColumnNames: ['id'],
  onDelete: 'CASCADE' as const,
});

export type WebhookSecretRow = {
  id: string;
  endpointId: string;
  secret: Buffer;
  keyId: string;
  createdAt: Date;
  expiresAt: Date | null;
};

export const webhookSecrets = new EntitySchema<WebhookSecretRow>({
  name: 'webhook_secrets',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'webhook_secrets_pkey' },
    endpointId: { name: 'endpoint_id', type: 'uuid' },
    secret: { type: 'bytea' },
    keyId: { name: 'key_id', type: 'text' },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    expiresAt: { name: 'expires_at', type: 'timestamptz', precision: 3, nullable: true },
  },
  indices: [{ name: 'webhook_secrets_endpoint_idx', columns: ['endpointId'] }],
  foreignKeys: [endpointKey('webhook_secrets')],
});

export type WebhookDeliveryRow = {
  endpointId: string;
  position: string;
  status: 'pending' | 'delivered' | 'failed' | 'skipped';
  attempts: number;
  nextAttemptAt: Date;
  leasedUntil: Date | null;
  lastStatus: number | null;
  lastDurationMs: number | null;
  lastError: string | null;
};

const deliveryKey = { primary: true, primaryKeyConstraintName: 'webhook_deliveries_pkey' } as const;

export const webhookDeliveries = new EntitySchema<WebhookDeliveryRow>({
  name: 'webhook_deliveries',
  columns: {
    endpointId: { name: 'endpoint_id', type: 'uuid', ...deliveryKey },
    position: { type: 'bigint', ...deliveryKey },
    status: { type: 'text', default: 'pending' },
    attempts: { type: 'integer', default: 0 },
    nextAttemptAt: { name: 'next_attempt_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    leasedUntil: { name: 'leased_until', type: 'timestamptz', precision: 3, nullable: true },
    lastStatus: { name: 'last_status', type: 'integer', nullable: true },
    lastDurationMs: { name: 'last_duration_ms', type: 'integer', nullable: true },
    lastError: { name: 'last_error', type: 'text', nullable: true },
  },
  indices: [
    { name: 'webhook_deliveries_due_idx', columns: ['endpointId', 'nextAttemptAt'], where: `status = 'pending'` },
    {
      name: 'webhook_deliveries_undelivered_idx',
      columns: ['endpointId', 'position'],
      where: `status in ('failed', 'skipped')`,
    },
    { name: 'webhook_deliveries_leased_idx', columns: ['endpointId'], where: 'leased_until is not null' },
  ],
  checks: [
    { name: 'webhook_deliveries_status_check', expression: `status in ('pending', 'delivered', 'failed', 'skipped')` },
  ],
});

export type WebhookGapRow = { endpointId: string; afterPosition: string; untilPosition: string };

const gapKey = { primary: true, primaryKeyConstraintName: 'webhook_gaps_pkey' } as const;

/** The events that an endpoint missed while it was disabled. */
export const webhookGaps = new EntitySchema<WebhookGapRow>({
  name: 'webhook_gaps',
  columns: {
    endpointId: { name: 'endpoint_id', type: 'uuid', ...gapKey },
    afterPosition: { name: 'after_position', type: 'bigint', ...gapKey },
    untilPosition: { name: 'until_position', type: 'bigint' },
  },
  foreignKeys: [endpointKey('webhook_gaps')],
});

export type WebhookLimitRow = { appName: string; testedAt: Date[]; changedAt: Date[] };

/** When endpoints of an app were tested, and enabled or disabled, within the last minute. */
export const webhookLimits = new EntitySchema<WebhookLimitRow>({
  name: 'webhook_limits',
  columns: {
    appName: { name: 'app_name', type: 'text', primary: true, primaryKeyConstraintName: 'webhook_limits_pkey' },
    testedAt: { name: 'tested_at', type: 'timestamptz', array: true, default: '{}' },
    changedAt: { name: 'changed_at', type: 'timestamptz', array: true, default: '{}' },
  },
});
