import { type Config, ConfigError, readConfig } from './config';
import { createLog, ignoreOutputErrors, type Log, stackOf } from './log';
import { startService } from './service';

/** A terminal and npm both deliver Ctrl-C: a repeated signal within this time counts as one. */
const SAME_SIGNAL_MS = 1_000;

async function main(config: Config): Promise<void> {
  const log = createLog(config.logLevel);
  logWarnings(log);
  const exit = async (code: number) => {
    await log.close();
    process.exit(code);
  };
  const fail = (message: string) => (error: unknown) => {
    log.error(message, { stack: stackOf(error) });
    void exit(1);
  };
  process.on('uncaughtException', fail('uncaught exception'));
  process.on('unhandledRejection', fail('unhandled rejection'));

  const starting = startService(config, { log });
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (first !== undefined) {
      if (signal !== first.signal || performance.now() - first.at > SAME_SIGNAL_MS) process.exit(1);
      return;
    }
    first = { signal, at: performance.now() };
    log.info('stopping', { signal });
    starting.then((service) => service.stop()).then(() => exit(0), fail('could not stop'));
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);

  try {
    const service = await starting;
    if (service.sandbox && !first) {
      const { startText } = await import('./sandbox/start.js');
      process.stdout.write(startText(service.sandbox, process.stdout.isTTY));
    }
  } catch (error) {
    if (first) return;
    process.stderr.write(`scsp-pairing cannot start: ${error instanceof Error ? error.message : error}\n`);
    log.error('cannot start', { stack: stackOf(error) });
    await exit(1);
  }
}

/** Logs Node's warnings instead of printing them, unless they are disabled (`NODE_NO_WARNINGS`). */
function logWarnings(log: Log): void {
  if (process.listenerCount('warning') === 0) return;
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) =>
    log.warn('warning of Node.js', { reason: `${name}: ${message.replace(/\s+/g, ' ')}` }),
  );
}

ignoreOutputErrors();
try {
  void main(readConfig());
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`scsp-pairing cannot start, invalid settings:\n${error.message}\n`);
  process.exitCode = 1;
}
