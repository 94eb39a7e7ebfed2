import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Audited } from '../audit/audit';
import type { Context } from '../context';
import { addCpo, listCpos, setOutbound } from '../cpos/cpos';
import { rows } from '../db/query';
import { hashToken, issueToken, type TokenOwner } from '../tokens/tokens';
import { type SandboxCpo, startSandboxCpo } from './cpo';

/** The content of `DATA_DIR/sandbox.json`: the URL of the sandbox and the tokens of its demo CPO, app and ingest. */
export type Sandbox = {
  url: string;
  cpo: { id: string; token: string };
  app: { token: string };
  ingest: { token: string };
};

const DEMO_CPO = 'Demo CPO';
const DEMO_APP = 'Demo app';
const DEMO_INGEST = 'Demo ingest';

type Seeding = Context & Audited;
export type OpenSandbox = { readonly credentials: Sandbox; readonly file: string; readonly cpo: SandboxCpo };

/**
 * Creates the demo CPO, app and ingest on the first start, replaces missing or expired tokens, and starts the backend of the CPO.
 */
export async function openSandbox(service: Context, url: string): Promise<OpenSandbox> {
  const ctx: Seeding = { ...service, actor: 'sandbox' };
  const file = join(ctx.config.dataDir, 'sandbox.json');
  const last = readLast(file);
  const cpo =
    (await listCpos(ctx.db)).find(({ name, sandbox }) => name === DEMO_CPO && !sandbox) ??
    (await addCpo(ctx, DEMO_CPO));
  const sandbox: Sandbox = {
    url,
    cpo: { id: cpo.id, token: await liveToken(ctx, last?.cpo?.token, { role: 'cpo', cpoId: cpo.id }) },
    app: { token: await liveToken(ctx, last?.app?.token, { role: 'app', appName: DEMO_APP }) },
    ingest: { token: await liveToken(ctx, last?.ingest?.token, { role: 'ingest', appName: DEMO_INGEST }) },
  };
  writeFileSync(`${file}.new`, `${JSON.stringify(sandbox, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);

  const outboundToken = ctx.random.bytes(32).toString('base64url');
  const backend = await startBackend(ctx, outboundToken);
  await setOutbound(ctx, cpo.id, { baseUrl: backend.url, outboundToken });
  return { credentials: sandbox, file, cpo: backend };
}

/** Starts the backend of the demo CPO on the next port after that of the service, or on any free port. */
async function startBackend(ctx: Context, token: string): Promise<SandboxCpo> {
  const port = ctx.config.port === 0 || ctx.config.port === 65_535 ? 0 : ctx.config.port + 1;
  try {
    return await startSandboxCpo(port, token, ctx.log);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    return startSandboxCpo(0, token, ctx.log);
  }
}

function readLast(file: string): Partial<Sandbox> | undefined {
  try {
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  } catch {
    return undefined;
  }
}

async function liveToken(ctx: Seeding, last: string | undefined, owner: TokenOwner): Promise<string> {
  const [live] = await rows(
    ctx.db,
    `select from tokens where hash = $1 and role = $2 and revoked_at is null and expires_at > now()`,
    [hashToken(last ?? ''), owner.role],
  );
  return last !== undefined && live !== undefined ? last : (await issueToken(ctx, owner)).token;
}

/** Returns the start-up text: the URL, and two commands that work when pasted one after the other. */
export function startText(
  { credentials: { url, cpo, app }, file, cpo: backend }: OpenSandbox,
  colours: boolean,
): string {
  const paint = (code: number, text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  return `
  ${paint(1, 'scsp-pairing')} ${paint(32, 'sandbox')}   ${paint(36, url)}   try it out: ${paint(36, `${url}/docs`)}

  ${paint(2, '1. The app requests a code for its customer:')}

CODE=$(curl -s ${url}/v1/app/pairing-codes -H 'Authorization: Bearer ${app.token}' -H 'Content-Type: application/json' -d '{"user_id":"user-1","charging_location_id":"home"}' | tee /dev/stderr | sed 's/.*"code":"\\([0-9]*\\)".*/\\1/')

  ${paint(2, '2. The customer enters it at the CPO, whose backend pairs the station:')}

curl -s ${url}/v1/scsp/ocpp2.0.1/pair -H 'Authorization: Bearer ${cpo.token}' -H 'Content-Type: application/json' -d '{"code":"'"$CODE"'","charging_station":{"uid":"demo-'"$(date +%s)"'","evses":[{"evse_id":1,"capabilities":["CHARGING_PROFILE_CAPABLE"],"connectors":[{"id":"1","power_type":"AC_3_PHASE","max_voltage":220,"max_amperage":16}]}]}}'

  ${paint(2, `CPO-issued codes to redeem in the app: 100000 to 199999, see docs/sandbox.md. Backend of the CPO: ${backend.url}`)}
  ${paint(2, `Tokens: ${file}   Stop: Ctrl-C`)}
`;
}
