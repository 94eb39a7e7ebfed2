import { once } from 'node:events';
import { get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { text } from 'node:stream/consumers';
import { OperatorError } from '../problems';

/**
 * Listens; returns the port.
 * @param host undefined: every address, those of IPv6 only where the kernel has it
 * @param setting where the port comes from
 * @throws OperatorError that names the setting when the port or the host cannot be had
 */
export async function listen(
  server: Server,
  port: number,
  host: string | undefined,
  setting: 'PORT' | 'METRICS_PORT',
): Promise<number> {
  server.listen({ port, host });
  await once(server, 'listening').catch((cause: NodeJS.ErrnoException) => {
    const refusal = refusalOf(cause.code, port, host, setting);
    throw refusal === undefined ? cause : new OperatorError(`${refusal} (${cause.message})`, { cause });
  });
  return (server.address() as AddressInfo).port;
}

function refusalOf(code: string | undefined, port: number, host: string | undefined, setting: string) {
  switch (code) {
    case 'EADDRINUSE':
      return `${setting} ${port} is in use: stop what listens there, or set ${setting} to another port (0 picks one)`;
    case 'EACCES':
      return `${setting} ${port} may not be listened on by this user: set ${setting} to a port from 1024 on`;
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'EINVAL':
    case 'ENOTFOUND':
      return `HOST ${host ?? ''} is not an address of this machine`;
    default:
      return undefined;
  }
}

const WILDCARDS = ['::', '0.0.0.0'];
const bothLoopbacks: LookupFunction = (_hostname, _options, found) =>
  found(null, [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]);

/**
 * Asks the service whether it is ready: the validator starts in spite of a broken spec and then answers 500 to everything.
 * Goes straight to the port, whatever proxy the environment names.
 * @throws Error when it is not ready
 */
export async function requireReady(server: Server): Promise<void> {
  const { address, port } = server.address() as AddressInfo;
  const to = WILDCARDS.includes(address) ? { host: 'localhost', lookup: bothLoopbacks } : { host: address };
  const options = {
    ...to,
    port,
    path: '/ready',
    headers: { connection: 'close' },
    agent: false,
    autoSelectFamily: true,
  };
  const [response] = (await once(get(options), 'response')) as [IncomingMessage];
  const body = await text(response);
  if (response.statusCode !== 200) throw new Error(`the service does not answer itself: ${body}`);
}
