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

const whitelist = format((info) => {
  const line = { level: info.level, message: info.message, [Symbol.for('level')]: info.level };
  for (const field of FIELDS) if (info[field] !== undefined) Object.assign(line, { [field]: info[field] });
  return line;
});

/** @param stream where the lines go, standard output unless given */
export function createLog(level: string, stream: NodeJS.WritableStream = process.stdout): Log {
  const logger: Logger = createLogger({
    level,
    format: format.combine(whitelist(), format.timestamp(), format.json()),
    transports: [new transports.Stream({ stream })],
  });
  return {
    error: (message, fields) => void logger.error(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    debug: (message, fields) => void logger.debug(message, fields),
    close: () =>
      new Promise((resolve) => {
        logger.on('finish', () => stream.write('', () => resolve()));
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
