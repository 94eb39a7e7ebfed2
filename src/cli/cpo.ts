import { type Command, Option } from 'commander';
import {
  addCpo,
  type Cpo,
  cpoIdOf,
  listCpos,
  type Outbound,
  removeOutbound,
  setOutbound,
  setSuspended,
} from '../cpos/cpos';
import type { Database } from '../db/pool';
import { readBaseUrl } from '../outbound/address';
import { listOutbox } from '../outbox/outbox';
import { type LastResult, listLastResults } from '../sandbox/certification/run';
import { listOpenCircuits } from '../status/read-stored-state';
import { cpoLimitsCommand } from './cpo-limits';
import { withContext } from './database';
import { formerReEncryptCommand } from './re-encrypt';
import type { Row } from './text';
import { name, protocolList, readToken } from './values';
import { answering, type Given, noun, type Shell, verb } from './verb';

export function cpoCommands(program: Command, shell: Shell): void {
  const cpo = noun(program, 'cpo', 'manages the Charge Point Operators that pair stations');

  const add = verb(
    cpo,
    'add',
    'registers a CPO',
    'scsp cpo add "Station Works"',
    'echo "$TOKEN" | scsp cpo add Volt --base-url https://volt.example/scsp --outbound-token-stdin',
  ).argument('<NAME>', 'its unique name', name);
  outboundOptions(add).action(
    answering(shell, async (given, NAME: string, options: OutboundOptions) => {
      if (options.outboundTokenStdin && options.baseUrl === undefined)
        add.error("error: option '--outbound-token-stdin' needs option '--base-url <URL>'");
      const outbound = await readOutbound(given, options);
      return withContext(given, async (ctx) => {
        const { id, name, baseUrl, payloadProtocols } = await addCpo(ctx, NAME, outbound);
        return { row: { id, name, base_url: baseUrl ?? undefined, payload_protocols: payloadProtocols ?? undefined } };
      });
    }),
  );

  const call = verb(
    cpo,
    'call',
    'sets the base URL, the outbound token or the protocols of a CPO; omitted options keep their values',
    'scsp cpo call "Station Works" --base-url https://volt.example/scsp --protocols ocpp2.0.1,ocpi2.2.1',
    'echo "$TOKEN" | scsp cpo call Volt --outbound-token-stdin',
    'scsp cpo call Volt --none',
  )
    .argument('<CPO>', 'its id or name')
    .addOption(
      new Option('--none', 'removes base URL and token; notifications wait until there is a base URL').conflicts([
        'baseUrl',
        'outboundTokenStdin',
        'protocols',
      ]),
    );
  outboundOptions(call).action(
    answering(shell, async (given, named: string, options: OutboundOptions & { none?: true }) => {
      if (options.none)
        return withContext(given, async (ctx) => {
          const id = await cpoIdOf(ctx.db, named);
          const cpo = writeCpo(await removeOutbound(ctx, id));
          const waiting = (await listOutbox(ctx.db)).filter(({ cpoId }) => cpoId === id).length;
          return { row: { ...cpo, notifications_waiting: waiting } };
        });
      if (options.baseUrl === undefined && !options.outboundTokenStdin && options.protocols === undefined)
        call.error(
          "error: give option '--base-url <URL>', '--outbound-token-stdin', '--protocols <LIST>' or several of them, or '--none'",
        );
      const outbound = await readOutbound(given, options);
      return withContext(given, async (ctx) => ({
        row: writeCpo(await setOutbound(ctx, await cpoIdOf(ctx.db, named), outbound)),
      }));
    }),
  );

  verb(cpo, 'list', 'lists all CPOs, oldest first', 'scsp cpo list').action(
    answering(shell, (given) =>
      withContext(given, async ({ db, config }) => ({
        ...(await writeCpos(db, config.sandbox)),
        columns: [
          'id',
          'name',
          'base_url',
          'payload_protocols',
          'created_at',
          'suspended_at',
          'circuit_open_since',
          ...(config.sandbox ? ['self_service', 'certification'] : []),
        ],
      })),
    ),
  );

  const suspension = (suspended: boolean) =>
    answering(shell, (given, named: string) =>
      withContext(given, async (ctx) => ({
        row: writeCpo(await setSuspended(ctx, await cpoIdOf(ctx.db, named), suspended)),
      })),
    );
  verb(
    cpo,
    'suspend',
    "rejects a CPO's requests within a second; its stations stay paired",
    'scsp cpo suspend "Station Works"',
  )
    .argument('<CPO>', 'its id or name')
    .action(suspension(true));
  verb(cpo, 'resume', "accepts a suspended CPO's requests again", 'scsp cpo resume "Station Works"')
    .argument('<CPO>', 'its id or name')
    .action(suspension(false));

  cpoLimitsCommand(cpo, shell);
  formerReEncryptCommand(cpo, shell);
}

type OutboundOptions = { baseUrl?: string; outboundTokenStdin?: true; protocols?: readonly string[] | 'all' };

function outboundOptions(verb: Command): Command {
  return verb
    .option('--base-url <URL>', 'the base URL of its endpoints')
    .option('--outbound-token-stdin', 'reads the bearer token that the CPO issued to us from standard input')
    .option('--protocols <LIST>', 'the payload protocols that it serves, comma-separated, or "all"', protocolList);
}

async function readOutbound({ config, stdin }: Given, options: OutboundOptions): Promise<Outbound> {
  return {
    baseUrl: options.baseUrl === undefined ? undefined : await readBaseUrl(options.baseUrl, config.callsLoopback),
    outboundToken: options.outboundTokenStdin ? await readToken(stdin) : undefined,
    payloadProtocols: options.protocols === 'all' ? null : options.protocols,
  };
}

/** Writes all CPOs, in a sandbox deployment with the counts of their last run of the checks: for a table in one word. */
async function writeCpos(db: Database, sandbox: boolean): Promise<{ rows: Row[]; textRows: Row[] }> {
  const cpos = await listCpos(db);
  const openSince = new Map((await listOpenCircuits(db)).map(({ id, openSince }) => [id, openSince.toISOString()]));
  const results = new Map((sandbox ? await listLastResults(db) : []).map((result) => [result.cpoId, result]));
  const write = (show: (result: LastResult) => Row[string]) =>
    cpos.map((cpo) => {
      const result = results.get(cpo.id);
      return {
        ...writeCpo(cpo),
        circuit_open_since: openSince.get(cpo.id),
        ...(result && { certification: show(result) }),
      };
    });
  return {
    rows: write(({ finishedAt, counts }) => ({ finished_at: finishedAt.toISOString(), counts })),
    textRows: write(({ counts: { passed, failed } }) => (failed > 0 ? `${failed} failed` : `${passed} passed`)),
  };
}

function writeCpo(cpo: Cpo): Row {
  return {
    id: cpo.id,
    name: cpo.name,
    base_url: cpo.baseUrl ?? undefined,
    payload_protocols: cpo.payloadProtocols ?? undefined,
    created_at: cpo.createdAt.toISOString(),
    suspended_at: cpo.suspendedAt?.toISOString(),
    self_service: cpo.sandbox || undefined,
  };
}
