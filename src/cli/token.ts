import { type Command, Option } from 'commander';
import type { Audited } from '../audit/audit';
import { cpoIdOf } from '../cpos/cpos';
import { issueToken, listTokens, revokeToken, rotateToken, type TokenOwner, type TokenSummary } from '../tokens/tokens';
import { showThenCommit, withContext } from './database';
import type { Row } from './text';
import { name, tokenId, whole } from './values';
import { answering, noun, type Shell, verb } from './verb';

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

  verb(token, 'revoke', 'revokes a token within a second; idempotent', 'scsp token revoke ID')
    .argument('<ID>', 'its id, as scsp token list shows it', tokenId)
    .action(
      answering(shell, (given, ID: string) =>
        withContext(given, async (ctx) => {
          const { id, revokedAt } = await revokeToken(ctx, ID);
          return { row: { id, revoked_at: revokedAt.toISOString() } };
        }),
      ),
    );
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
