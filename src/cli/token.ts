import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { Audited } from '../audit/audit';
import { cpoIdOf } from '../cpos/cpos';
import { readRevocations, replayRevocations } from '../tokens/replay';
import { revokeToken } from '../tokens/revoke';
import { issueToken, listTokens, rotateToken, type TokenOwner, type TokenSummary } from '../tokens/tokens';
import { showThenCommit, withContext } from './database';
import type { Row } from './text';
import { name, tokenId, whole } from './values';
import { type Answer, answering, type Given, noun, type Shell, verb } from './verb';

const STORE_NOW = 'Store the token now: it is not shown again.';

export function tokenCommands(program: Command, shell: Shell): void {
  const token = noun(program, 'token', 'manages the bearer tokens of CPOs, apps and ingests');

  const issue = verb(
    token,
    'issue',
    'issues a token that is valid for a year and shows it once',
    'scsp token issue --cpo "Station Works"',
    'scsp token issue --app "Jedlix app" --json',
    'scsp token issue --ingest "Telemetry pipeline"',
  )
    .addOption(new Option('--cpo <CPO>', 'the CPO to issue it to, by id or name').conflicts(['app', 'ingest']))
    .addOption(new Option('--app <NAME>', 'the name of the app to issue it to').argParser(name).conflicts('ingest'))
    .addOption(
      new Option(
        '--ingest <NAME>',
        'the name of the pipeline to issue it to, which may read links and events only',
      ).argParser(name),
    );
  issue.action(
    answering(shell, async (given, options: OwnerOptions) => {
      const ownerOf =
        readOwner(options) ??
        issue.error("error: one of '--cpo <CPO>', '--app <NAME>' and '--ingest <NAME>' is required");
      return withContext(given, (ctx) =>
        showThenCommit(given, ctx, async (tx) => {
          const { id, token, expiresAt } = await issueToken(tx, await ownerOf(tx));
          return { row: { id, token, expires_at: expiresAt.toISOString() }, note: STORE_NOW };
        }),
      );
    }),
  );

  verb(
    token,
    'rotate',
    'issues a new token for the same owner; both work until the overlap ends',
    'scsp token rotate ID',
    'scsp token rotate ID --overlap 168 --json',
  )
    .argument('<ID>', 'the id of the old token, as scsp token list shows it', tokenId)
    .option('--overlap <HOURS>', 'how long the old token stays valid', whole(0, 8_760), 24)
    .action(
      answering(shell, (given, ID: string, { overlap }: { overlap: number }) =>
        withContext(given, (ctx) =>
          showThenCommit(given, ctx, async (tx) => {
            const { id, token, expiresAt, replaces, oldExpiresAt } = await rotateToken(tx, ID, overlap);
            const until = { expires_at: expiresAt.toISOString(), replaces, old_expires_at: oldExpiresAt.toISOString() };
            return { row: { id, token, ...until }, note: STORE_NOW };
          }),
        ),
      ),
    );

  verb(token, 'list', 'lists all tokens without their secrets', 'scsp token list').action(
    answering(shell, (given) =>
      withContext(given, async ({ db }) => ({
        rows: (await listTokens(db)).map(writeToken),
        columns: ['id', 'role', 'owner', 'created_at', 'expires_at', 'revoked_at', 'last_used_at'],
      })),
    ),
  );

  const revoke = verb(
    token,
    'revoke',
    'revokes a token and every token that was rotated from it, within a second; idempotent',
    'scsp token revoke ID',
    'scsp token revoke ID --only',
    'scsp token revoke --replay audit.json',
  )
    .argument('[ID]', 'its id, as scsp token list shows it', tokenId)
    .option('--only', 'keeps the tokens that were rotated from it, for one whose owner has already replaced it')
    .addOption(
      new Option(
        '--replay <FILE>',
        'repeats revocations after a restore, from scsp audit list --json or the log of the service',
      ).conflicts('only'),
    );
  revoke.action(
    answering(shell, async (given, id: string | undefined, { only = false, replay }: RevokeOptions) => {
      if (id !== undefined && replay === undefined) return revokeOne(given, id, !only);
      if (id === undefined && replay !== undefined) return { row: await replayFile(given, replay) };
      return revoke.error("error: one of '[ID]' and '--replay <FILE>' is required");
    }),
  );
}

type RevokeOptions = { only?: boolean; replay?: string };

function revokeOne(given: Given, ID: string, successors: boolean): Promise<Answer> {
  return withContext(given, async (ctx) => {
    const { id, revokedAt, alsoRevoked } = await revokeToken(ctx, ID, { successors });
    const row = { id, revoked_at: revokedAt.toISOString() };
    const count = alsoRevoked.length;
    if (count === 0) return { row };
    const tokens = count === 1 ? '1 token that was' : `${count} tokens that were`;
    return {
      row: { ...row, also_revoked: alsoRevoked },
      note: `Also revoked ${tokens} rotated from it. The owner needs a new token.`,
    };
  });
}

async function replayFile(given: Given, file: string): Promise<Row> {
  const ids = readRevocations(await readFile(file, 'utf8'));
  return withContext(given, async (ctx) => ({ revocations: ids.length, tokens: await replayRevocations(ctx, ids) }));
}

type OwnerOptions = { cpo?: string; app?: string; ingest?: string };

/** Returns a function that finds the owner named by the options, or undefined if they name none. */
function readOwner({ cpo, app, ingest }: OwnerOptions): ((tx: Audited) => Promise<TokenOwner>) | undefined {
  if (cpo !== undefined) return async ({ db }) => ({ role: 'cpo', cpoId: await cpoIdOf(db, cpo) });
  if (app !== undefined) return async () => ({ role: 'app', appName: app });
  return ingest === undefined ? undefined : async () => ({ role: 'ingest', appName: ingest });
}

function writeToken(token: TokenSummary): Row {
  return {
    id: token.id,
    role: token.role,
    cpo_id: token.cpoId ?? undefined,
    owner: token.owner,
    created_at: token.createdAt.toISOString(),
    expires_at: token.expiresAt.toISOString(),
    revoked_at: token.revokedAt?.toISOString(),
    last_used_at: token.lastUsedAt?.toISOString(),
    replaces: token.replaces ?? undefined,
  };
}
