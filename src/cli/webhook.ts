import { type Command, InvalidArgumentError, Option } from 'commander';
import { readContract } from '../contract/document';
import { truncateInstant } from '../contract/instant';
import { newSpan } from '../contract/trace-context';
import { LAST_POSITION } from '../http/pagination';
import { OperatorError, Problem } from '../problems';
import { WebhookClient } from '../webhooks/client';
import { type DeliveryStatus, listDeliveries } from '../webhooks/deliveries';
import { changeEndpoint, type Endpoint } from '../webhooks/endpoints';
import {
  disableByOperator,
  findEndpoint,
  listAllEndpoints,
  redeliverByOperator,
  testByOperator,
} from '../webhooks/operate';
import type { Owned } from '../webhooks/owned';
import { writeDelivery, writeEndpoint } from '../webhooks/write';
import { type CommandContext, withContext } from './database';
import type { Row } from './text';
import { name, whole } from './values';
import { type Answer, answering, noun, type Shell, verb } from './verb';
import { verifyCommand } from './webhook-verify';

const STATUSES: readonly DeliveryStatus[] = ['pending', 'delivered', 'failed', 'skipped'];

export function webhookCommands(program: Command, shell: Shell): void {
  const webhook = noun(program, 'webhook', 'manages webhook endpoints of apps, and verifies what they receive');

  /** Creates the action of a verb on one endpoint, of any app. */
  const onEndpoint = <Options>(work: (ctx: CommandContext, owned: Owned, options: Options) => Promise<Answer>) =>
    answering(shell, (given, id: string, options: Options) =>
      withContext(given, async (ctx) => work(ctx, await findEndpoint(ctx.db, id), options)),
    );

  verb(
    webhook,
    'list',
    'lists the webhook endpoints of all apps, oldest first',
    'scsp webhook list',
    'scsp webhook list --app "Jedlix app" --json',
  )
    .option('--app <NAME>', 'only those of this app', name)
    .action(
      answering(shell, (given, { app }: { app?: string }) =>
        withContext(given, async ({ db }) => ({
          rows: (await listAllEndpoints(db, app)).map((endpoint) => row(endpoint.app, endpoint)),
          columns: ['id', 'app', 'url', 'status', 'disabled_reason', 'failing_since', 'last_success_at'],
        })),
      ),
    );

  endpointVerb(
    webhook,
    'test',
    'sends a test event to an endpoint once, from this machine; changes no counter',
    'scsp webhook test ID',
  ).action(
    onEndpoint(async (ctx, owned) => {
      const client = new WebhookClient(ctx.config.callsLoopback, readContract().document);
      const stopping = new AbortController().signal;
      const origin = { requestId: ctx.random.requestId(), trace: newSpan(ctx.random, undefined) };
      const outcome = testByOperator({ ...ctx, stopping }, client, owned, origin).finally(() => client.close());
      const { delivered, status, durationMs, error } = await outcome;
      return { row: { delivered, status, duration_ms: durationMs, error } };
    }),
  );

  endpointVerb(
    webhook,
    'enable',
    'enables an endpoint; events that were skipped can be redelivered',
    'scsp webhook enable ID',
  ).action(
    // Without the keys: reading them would require SECRET_KEY.
    onEndpoint(async ({ config, db, metrics, random, actor }, owned) => {
      const enabled = await changeEndpoint({ config, db, metrics, random, actor }, owned, { status: 'enabled' });
      return { row: row(owned.app, enabled) };
    }),
  );

  endpointVerb(
    webhook,
    'disable',
    'disables an endpoint; its events are skipped and stay in the feed',
    'scsp webhook disable ID',
  ).action(onEndpoint(async (ctx, owned) => ({ row: row(owned.app, await disableByOperator(ctx, owned)) })));

  endpointVerb(
    webhook,
    'deliveries',
    'lists the events for an endpoint and what came of each, newest first',
    'scsp webhook deliveries ID',
    'scsp webhook deliveries ID --status failed --json',
  )
    .addOption(new Option('--status <STATUS>', 'only deliveries with this status').choices(STATUSES))
    .option('--limit <N>', 'the maximum number of rows', whole(1, 1_000_000), 100)
    .action(
      onEndpoint(async ({ db }, owned, { status, limit }: { status?: DeliveryStatus; limit: number }) => ({
        rows: (await listDeliveries(db, owned, status, LAST_POSITION, limit)).map(writeDelivery),
        columns: ['event_id', 'type', 'status', 'attempts', 'next_attempt_at', 'last_status', 'last_error'],
      })),
    );

  const redeliver = endpointVerb(
    webhook,
    'redeliver',
    'delivers an event, or all events since a time, again under the same event ids',
    'scsp webhook redeliver ID --event EVENT',
    'scsp webhook redeliver ID --since 2026-11-28T12:00:00Z',
  )
    .addOption(new Option('--event <EVENT>', 'the id of the event').conflicts('since'))
    .option('--since <TIME>', 'the time of the first event (RFC 3339)', instant);
  redeliver.action(
    onEndpoint(async ({ db, random, actor }, owned, { event, since }: { event?: string; since?: Date }) => {
      // Without the keys: reading them would require SECRET_KEY.
      const ctx = { db, random, actor };
      if (event !== undefined) await redeliverByOperator(ctx, owned, { event }).catch(refuseUnknown(event));
      else if (since !== undefined) await redeliverByOperator(ctx, owned, { since });
      else return redeliver.error("error: one of '--event <EVENT>' and '--since <TIME>' is required");
      return { row: { id: owned.id, event_id: event, since: since?.toISOString() } };
    }),
  );

  verifyCommand(webhook, shell);
}

/** Returns a function that throws an error that names the event instead of a Problem `not-found`. */
const refuseUnknown = (event: string) => (error: unknown) => {
  if (error instanceof Problem && error.type === 'not-found')
    throw new OperatorError(`no event for this endpoint has the id ${event}`);
  throw error;
};

/** Adds a verb with an endpoint as its argument. */
function endpointVerb(webhook: Command, name: string, description: string, ...lines: string[]): Command {
  return verb(webhook, name, description, ...lines).argument('<ID>', 'its id, as scsp webhook list shows it');
}

function instant(text: string): Date {
  const time = truncateInstant(text);
  if (time === undefined) throw new InvalidArgumentError('It must be a time such as 2026-11-28T12:00:00Z (RFC 3339).');
  return new Date(time);
}

/** An endpoint in the output of a command. */
const row = (app: string, endpoint: Endpoint): Row => ({ ...writeEndpoint(endpoint), app });
