import { EntitySchema } from 'typeorm';

export type EventRow = {
  id: string;
  type: string;
  occurredAt: Date;
  codeId: string | null;
  pairingId: string | null;
  cpoId: string | null;
  /** The order of the changes. Null in events of 0.1 and 0.2.0, which are not published. */
  seq: string | null;
  /** The place in the feed; null until the event is published. */
  position: string | null;
  publishedAt: Date | null;
  reason: string | null;
  attempts: number | null;
  replacedBy: string | null;
  endpointId: string | null;
  failingSince: Date | null;
  /** Only this app sees the event; null: everyone. */
  appName: string | null;
  /** The trace of the request that caused the event (W3C Trace Context). */
  traceparent: string | null;
};

export const events = new EntitySchema<EventRow>({
  name: 'events',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'events_pkey' },
    type: { type: 'text' },
    occurredAt: { name: 'occurred_at', type: 'timestamptz', precision: 3, default: () => 'clock_timestamp()' },
    codeId: { name: 'code_id', type: 'uuid', nullable: true },
    pairingId: { name: 'pairing_id', type: 'uuid', nullable: true },
    cpoId: { name: 'cpo_id', type: 'uuid', nullable: true },
    seq: { type: 'bigint', nullable: true, default: () => `nextval('events_seq')` },
    position: { type: 'bigint', nullable: true },
    publishedAt: { name: 'published_at', type: 'timestamptz', precision: 3, nullable: true },
    reason: { type: 'text', nullable: true },
    attempts: { type: 'integer', nullable: true },
    replacedBy: { name: 'replaced_by', type: 'uuid', nullable: true },
    endpointId: { name: 'endpoint_id', type: 'uuid', nullable: true },
    failingSince: { name: 'failing_since', type: 'timestamptz', precision: 3, nullable: true },
    appName: { name: 'app_name', type: 'text', nullable: true },
    traceparent: { type: 'text', nullable: true },
  },
  indices: [
    { name: 'events_unpublished_idx', columns: ['seq'], where: 'position is null and seq is not null' },
    { name: 'events_position_key', columns: ['position'], unique: true, where: 'position is not null' },
    { name: 'events_type_position_idx', columns: ['type', 'position'], where: 'position is not null' },
    { name: 'events_refused_idx', columns: ['codeId'], where: `type = 'pairing.refused'` },
    { name: 'events_former_idx', columns: ['id'], where: 'seq is null' },
  ],
});

export type EventFeedRow = {
  onlyRow: boolean;
  lastPosition: string;
  deletedPosition: string;
  databaseIdentity: string | null;
};

/** The ends of the feed, and the database that assigned its positions. */
export const eventFeed = new EntitySchema<EventFeedRow>({
  name: 'event_feed',
  columns: {
    onlyRow: {
      name: 'only_row',
      type: 'boolean',
      primary: true,
      primaryKeyConstraintName: 'event_feed_pkey',
      default: true,
    },
    lastPosition: { name: 'last_position', type: 'bigint', default: 0 },
    deletedPosition: { name: 'deleted_position', type: 'bigint', default: 0 },
    databaseIdentity: { name: 'database_identity', type: 'text', nullable: true },
  },
  checks: [{ name: 'event_feed_only_row_check', expression: 'only_row' }],
});
