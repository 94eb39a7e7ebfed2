/** Why a connection could not be made or did not bring an answer: what happened, and what the called party can check. */
export type ConnectionFailure = { readonly cause: string; readonly remedy: string };

const FAILURES: readonly (readonly [code: RegExp, cause: string, remedy: string])[] = [
  [/^ECONNREFUSED$/, 'the connection was refused', 'Check the port, and that your backend is running'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'its host name has no address', 'Check base_url and DNS'],
  [
    /^(UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH)$/,
    'no connection could be made in time',
    'Check the firewall and the addresses in DNS',
  ],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_/,
    'its certificate is not valid for the host or not publicly trusted',
    'Check the certificate and its chain',
  ],
  [/^(EPROTO|ERR_SSL_|ERR_TLS_)/, 'TLS failed', 'Check that the port serves https'],
  [/^(HPE_|HTTPParserError)/, 'the answer is not valid HTTP', 'Check the port'],
];
const CLOSED = [/./, 'the connection was closed without a complete answer', 'Look into your log'] as const;

/** Says why a call failed, by the code, or else the name, of the error of undici or Node. */
export function connectionFailure(error: unknown): ConnectionFailure {
  const { name, code = name }: { name?: unknown; code?: unknown } = Object(error);
  const [, cause, remedy] = FAILURES.find(([codes]) => codes.test(String(code))) ?? CLOSED;
  return { cause, remedy };
}
