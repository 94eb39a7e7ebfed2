// Owns an embedded database in a process of its own, for tests that kill it. Input and output are lines.
const { createInterface } = require('node:readline');
const { Client } = require('pg');
const { startEmbedded } = require('../../dist/src/embedded-postgres/launcher.js');

const say = (event, detail) => process.stdout.write(`${JSON.stringify({ event, detail })}\n`);

async function main() {
  const options = JSON.parse(process.argv[2]);
  const orders = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  say('waiting', process.pid);
  await orders.next();
  const database = await startEmbedded({ ...options, onExit: (message) => say('database ended', message) });
  const client = new Client(database.url);
  client.on('error', () => {});
  await client.connect();
  await client.query('CREATE TABLE IF NOT EXISTS rows (n int)');

  process.on('SIGINT', async () => {
    const { rows } = await client.query('SELECT 1 AS one');
    say('drained', rows[0].one);
    await client.end();
    await database.stop();
    process.exit();
  });

  say('started', database.url);
  for await (const order of orders) {
    if (order === 'stop') break;
    const { rowCount } = await client.query('INSERT INTO rows VALUES ($1)', [Number(order)]);
    say('inserted', rowCount && Number(order));
  }
  await client.end().catch(() => {});
  await database.stop();
  process.exit();
}

main().catch((error) => {
  say('failed', error.message);
  process.exit(1);
});
