import { Writable } from 'node:stream';
import { createLogger, format, type Logger, transports } from 'winston';

/** What a log line may say beside level, message and time. Anything else is dropped, so that no token, code or body gets in. */
const FIELDS = [
  'url',
  'request_id',
  'correlation_id',
  'operation',
  'method',
  'status',
  'problem',
  'duration_ms',
  'role',
  'cpo_id',
  'code_id',
  'pairing_id',
  'token_id',
  'expires_at',
  'payload_protocol',
  'outcome',
  'reason',
  'signal',
  'pid',
  'stack',
  'port',
  'count',
] as const;

export type LogFields = Partial<Record<(typeof FIELDS)[number], string | number | undefined>>;

/** A log of JSON lines; `error` = somebody must act, `warn` = it healed. */
export type Log = {
  [level in 'error' | 'warn' | 'info' | 'debug']: (message: string, fields?: LogFields) => void;
} & {
  /** Resolves when every line is written. */
  close(): Promise<void>;
};

const MESSAGE = Symbol.for('message');

/** One step for whitelist, time and JSON, since it runs for every request. */
const lineOf = format((info) => {
  const line: Record<string, unknown> = {
    timestamp: new Date().toISOString(),
    level: info.level,
    message: info.message,
  };
  for (const field of FIELDS) if (info[field] !== undefined) line[field] = info[field];
  info[MESSAGE] = JSON.stringify(line);
  return info;
});

/** The lines of one turn of the event loop leave together: each write to a pipe is a system call that is waited for. */
function gathering(stream: NodeJS.WritableStream): Writable {
  let lines = '';
  const flush = () => {
    if (lines !== '') stream.write(lines);
    lines = '';
  };
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      if (lines === '') setImmediate(flush);
      lines += line;
      done();
    },
    final(done) {
      flush();
      stream.write('', () => done());
    },
  });
}

/** @param stream where the lines go, standard output unless given */
export function createLog(level: string, stream: NodeJS.WritableStream = process.stdout): Log {
  const lines = gathering(stream);
  const logger: Logger = createLogger({
    level,
    format: lineOf(),
    transports: [new transports.Stream({ stream: lines })],
  });
  return {
    error: (message, fields) => void logger.error(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    debug: (message, fields) => void logger.debug(message, fields),
    close: () =>
      new Promise((resolve) => {
        logger.on('finish', () => lines.end(() => resolve()));
        logger.end();
      }),
  };
}

/** The stack of anything thrown, without the properties (parameters, details) that drivers hang on errors. */
export function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`;
  return (error.stack ?? error.message) + cause;
}
