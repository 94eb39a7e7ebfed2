import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { endLater } from './clean-up';

const TYPES: Readonly<Record<number, 'a' | 'aaaa'>> = { 1: 'a', 28: 'aaaa' };

/** The addresses of a name, four or sixteen bytes each; undefined: the name server does not answer. */
export type Zone = Readonly<Record<string, { a?: number[][]; aaaa?: number[][] } | undefined>>;

/** A name server (RFC 1035) for a few names: `queries` are the names that it was asked for. Others do not exist. */
export async function startNameServer(zone: Zone) {
  const queries: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const name = labels.join('.').toLowerCase();
    queries.push(name);
    if (name in zone && zone[name] === undefined) return;
    const type = query.readUInt16BE(at + 1);
    const found = zone[name]?.[TYPES[type] ?? 'a'] ?? [];
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(name in zone ? 0x8180 : 0x8183, 2);
    header.writeUInt16BE(found.length, 6);
    header.writeUInt32BE(0, 8);
    // A pointer to the name in the question, type, class, TTL, length and address.
    const records = found.map((bytes) => Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 1, 0, bytes.length, ...bytes]));
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  endLater(() => socket.close());
  return { address: `127.0.0.1:${socket.address().port}`, queries };
}
