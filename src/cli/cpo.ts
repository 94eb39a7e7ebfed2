import type { Command } from 'commander';
import { readBaseUrl } from '../cpos/address';
import { addCpo, type Cpo, listCpos, setSuspended } from '../cpos/cpos';
import { withContext } from './database';
import type { Row } from './text';
import { name, tokenFromStdin } from './values';
import { answering, noun, verb } from './verb';

export function cpoCommands(program: Command): void {
  const cpo = noun(program, 'cpo', 'the Charge Point Operators that may pair stations');

  verb(
    cpo,
    'add',
    'registers a CPO',
    'scsp cpo add "Station Works"',
    'scsp cpo add Volt --base-url https://volt.example/scsp',
  )
    .argument('<NAME>', 'what people call it, unique', name)
    .option('--base-url <URL>', 'where its half of the contract is served')
    .option('--outbound-token-stdin', 'reads the token that it gave us from standard input')
    .action(
      answering(async (config, NAME: string, options: { baseUrl?: string; outboundTokenStdin?: true }) => {
        const baseUrl = options.baseUrl === undefined ? undefined : await readBaseUrl(options.baseUrl, config.sandbox);
        const outboundToken = options.outboundTokenStdin ? await tokenFromStdin() : undefined;
        return withContext(config, async (ctx) => {
          const added = await addCpo(ctx, NAME, { baseUrl, outboundToken });
          return { row: { id: added.id, name: added.name, base_url: added.baseUrl ?? undefined } };
        });
      }),
    );

  verb(cpo, 'list', 'lists all CPOs, the oldest first', 'scsp cpo list').action(
    answering((config) =>
      withContext(config, async ({ db }) => ({
        rows: (await listCpos(db)).map(writeCpo),
        columns: ['id', 'name', 'base_url', 'created_at', 'suspended_at'],
      })),
    ),
  );

  const suspension = (suspended: boolean) =>
    answering((config, id: string) =>
      withContext(config, async ({ db }) => ({ row: writeCpo(await setSuspended(db, id, suspended)) })),
    );
  verb(cpo, 'suspend', "refuses a CPO's calls within a second; its stations stay paired", 'scsp cpo suspend ID')
    .argument('<ID>', 'its id')
    .action(suspension(true));
  verb(cpo, 'resume', "accepts a suspended CPO's calls again", 'scsp cpo resume ID')
    .argument('<ID>', 'its id')
    .action(suspension(false));
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
