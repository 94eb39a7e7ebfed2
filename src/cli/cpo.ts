import type { Command } from 'commander';
import { readBaseUrl } from '../cpos/address';
import { addCpo, type Cpo, cpoIdOf, listCpos, setCalling, setSuspended } from '../cpos/cpos';
import { resealTokens } from '../cpos/reseal';
import { withContext } from './database';
import type { Row } from './text';
import { name, readToken } from './values';
import { answering, type Given, noun, type Shell, verb } from './verb';

export function cpoCommands(program: Command, shell: Shell): void {
  const cpo = noun(program, 'cpo', 'the Charge Point Operators that may pair stations');

  const add = verb(
    cpo,
    'add',
    'registers a CPO',
    'scsp cpo add "Station Works"',
    'echo "$TOKEN" | scsp cpo add Volt --base-url https://volt.example/scsp --outbound-token-stdin',
  )
    .argument('<NAME>', 'what people call it, unique', name)
    .option('--base-url <URL>', 'where its half of the contract is served')
    .option('--outbound-token-stdin', 'reads the token that it gave us from standard input');
  add.action(
    answering(shell, async (given, NAME: string, options: { baseUrl?: string; outboundTokenStdin?: true }) => {
      if (options.outboundTokenStdin && options.baseUrl === undefined)
        add.error("error: option '--outbound-token-stdin' needs option '--base-url <URL>'");
      const { baseUrl, outboundToken } = await readCalling(given, options);
      return withContext(given, async (ctx) => {
        const added = await addCpo(ctx, NAME, { baseUrl, outboundToken });
        return { row: { id: added.id, name: added.name, base_url: added.baseUrl ?? undefined } };
      });
    }),
  );

  const call = verb(
    cpo,
    'call',
    'sets where a CPO is called, or the token that it gave us for that; what is not given stays',
    'scsp cpo call "Station Works" --base-url https://volt.example/scsp',
    'echo "$TOKEN" | scsp cpo call Volt --outbound-token-stdin',
  )
    .argument('<CPO>', 'its id or name')
    .option('--base-url <URL>', 'where its half of the contract is served')
    .option('--outbound-token-stdin', 'reads the token that it gave us from standard input');
  call.action(
    answering(shell, async (given, named: string, options: { baseUrl?: string; outboundTokenStdin?: true }) => {
      if (options.baseUrl === undefined && !options.outboundTokenStdin)
        call.error("error: give option '--base-url <URL>', '--outbound-token-stdin' or both");
      const { baseUrl, outboundToken } = await readCalling(given, options);
      return withContext(given, async (ctx) => ({
        row: writeCpo(await setCalling(ctx, await cpoIdOf(ctx.db, named), { baseUrl, outboundToken })),
      }));
    }),
  );

  verb(cpo, 'list', 'lists all CPOs, the oldest first', 'scsp cpo list').action(
    answering(shell, (given) =>
      withContext(given, async ({ db }) => ({
        rows: (await listCpos(db)).map(writeCpo),
        columns: ['id', 'name', 'base_url', 'created_at', 'suspended_at'],
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
    "refuses a CPO's calls within a second; its stations stay paired",
    'scsp cpo suspend "Station Works"',
  )
    .argument('<CPO>', 'its id or name')
    .action(suspension(true));
  verb(cpo, 'resume', "accepts a suspended CPO's calls again", 'scsp cpo resume "Station Works"')
    .argument('<CPO>', 'its id or name')
    .action(suspension(false));

  verb(
    cpo,
    'reseal',
    'seals the tokens that CPOs gave us under the current SECRET_KEY, so that SECRET_KEY_PREVIOUS can go',
    'scsp cpo reseal',
  ).action(
    answering(shell, (given) => withContext(given, async (ctx) => ({ row: { resealed: await resealTokens(ctx) } }))),
  );
}

async function readCalling(
  { config, stdin }: Given,
  options: { baseUrl?: string; outboundTokenStdin?: true },
): Promise<{ baseUrl: string | undefined; outboundToken: string | undefined }> {
  return {
    baseUrl: options.baseUrl === undefined ? undefined : await readBaseUrl(options.baseUrl, config.callsLoopback),
    outboundToken: options.outboundTokenStdin ? await readToken(stdin) : undefined,
  };
}

function writeCpo(cpo: Cpo): Row {
  return {
    id: cpo.id,
    name: cpo.name,
    base_url: cpo.baseUrl ?? undefined,
    created_at: cpo.createdAt.toISOString(),
    suspended_at: cpo.suspendedAt?.toISOString(),
  };
}
