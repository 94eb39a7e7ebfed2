-- Run once on the primary as a superuser. Replace the passwords.
create role scsp_owner login password 'CHANGE-ME-owner';
create role scsp_service login password 'CHANGE-ME-service';
create role scsp_replicator login replication password 'CHANGE-ME-replicator';
create role haproxy_check login connection limit 10;

-- A pooler does not pass on the time-outs of the service, which does not start without them. In milliseconds.
alter role scsp_service set statement_timeout = 2000;
alter role scsp_service set lock_timeout = 1500;
alter role scsp_service set idle_in_transaction_session_timeout = 5000;
-- Nor this setting: where the planner overestimates the rows, compiling a statement takes longer than executing it.
alter role scsp_service set jit = off;

create database scsp owner scsp_owner;
