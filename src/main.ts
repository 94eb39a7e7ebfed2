import { setFlagsFromString } from 'node:v8';
import { type Config, ConfigError, readConfig } from './config';
import { startText } from './demo';
import { createLog, stackOf } from './log';
import { startService } from './service';

// What V8 has once seen live long it allocates as old from then on. Requests that lived through a pause are such: with
// that, one process in four ended up keeping all of each request until the next major collection, at a quarter more CPU.
setFlagsFromString('--no-allocation-site-pretenuring');

async function main(config: Config): Promise<void> {
  const log = createLog(config.logLevel);
  const leave = async (code: number) => {
    await log.close();
    process.exit(code);
  };
  const fail = (message: string) => (error: unknown) => {
    log.error(message, { stack: stackOf(error) });
    void leave(1);
  };
  process.on('uncaughtException', fail('uncaught exception'));
  process.on('unhandledRejection', fail('unhandled rejection'));

  const starting = startService(config, { log });
  let stopping = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info('stopping', { signal });
    starting.then((service) => service.stop()).then(() => leave(0), fail('could not stop'));
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);

  try {
    const service = await starting;
    if (service.sandbox && !stopping) process.stdout.write(startText(service.sandbox, process.stdout.isTTY));
  } catch (error) {
    if (stopping) return;
    process.stderr.write(`scsp-pairing cannot start: ${error instanceof Error ? error.message : error}\n`);
    log.error('cannot start', { stack: stackOf(error) });
    await leave(1);
  }
}

try {
  void main(readConfig());
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`scsp-pairing cannot start, its settings have faults:\n${error.message}\n`);
  process.exitCode = 1;
}
