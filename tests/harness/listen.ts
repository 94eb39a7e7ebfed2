import { once } from 'node:events';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';

/** Below the ports from which systems choose for others, above 10080, which fetch refuses, and not near another process's. */
let nextPort = 11_000 + ((process.pid * 7_919) % 20_000);

/**
 * Listens on a port that no other test gets when the server is closed. Until it listens there again, connections are refused.
 * @param port on which it listened before
 */
export async function listenOn(server: Server, port?: number): Promise<number> {
  for (;;) {
    server.listen(port ?? nextPort++, '127.0.0.1');
    try {
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    } catch (error) {
      if (port !== undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

/** Stops listening, and closes the server's connections. */
export async function close(server: HttpServer): Promise<void> {
  if (!server.listening) return;
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}

/** A port on which nothing listens, for a program that cannot say which it got. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listenOn(server);
  await close(server);
  return port;
}
