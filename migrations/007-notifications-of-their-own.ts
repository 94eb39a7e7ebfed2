import type { MigrationInterface, QueryRunner } from 'typeorm';

// The previous version inserts without the new columns and finds rows by pairing_id; both still work. The table holds
// waiting notifications only, so it is small, and rewriting it takes no time.
const UP = `
alter table outbox drop constraint outbox_pkey;
alter table outbox
  -- A notification need not come from a pairing: a CPO may believe in one that was never stored.
  alter pairing_id drop not null,
  -- Erased when the notification is given up and the user is not known any more.
  alter uid drop not null,
  add id uuid not null default gen_random_uuid(),
  -- Set while a replica calls the CPO, and never later than its call can end.
  add leased_until timestamptz(3),
  -- The request that the notification comes from.
  add request_id text,
  add traceparent text;
alter table outbox
  add constraint outbox_pkey primary key (id),
  add constraint outbox_pairing_id_key unique (pairing_id);
create index outbox_due_idx on outbox (cpo_id, next_attempt_at) where gave_up_at is null;
create index outbox_leased_idx on outbox (cpo_id) where leased_until is not null;
`;

const DOWN = `
drop index outbox_leased_idx;
drop index outbox_due_idx;
delete from outbox where pairing_id is null or uid is null;
alter table outbox drop constraint outbox_pairing_id_key, drop constraint outbox_pkey;
alter table outbox
  drop traceparent,
  drop request_id,
  drop leased_until,
  drop id,
  alter uid set not null,
  alter pairing_id set not null,
  add constraint outbox_pkey primary key (pairing_id);
`;

export class NotificationsOfTheirOwn1764000000007 implements MigrationInterface {
  name = 'NotificationsOfTheirOwn1764000000007';
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(DOWN);
  }
}
