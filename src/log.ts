import { Writable } from 'node:stream';
import { createLogger, format, type Logger, transports } from 'winston';

/** What a log line may say beside level, message and time. Anything else is dropped, so that no token, code or body gets in. */
const FIELDS = [
  'url',
  'request_id',
  'correlation_id',
  'trace_id',
  'span_id',
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
  'user_hash',
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
  /** Resolves when every line is written, after a second at most where the stream takes none. */
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

/** Characters of lines that wait while the stream takes none: some thousand lines. */
export const LARGEST_BACKLOG = 1_048_576;
/** How long `close` waits for a stream that takes no more lines. */
const CLOSE_MS = 1_000;

type Loss = { readonly count: number; readonly reason: string };

/**
 * Writes lines to a stream that may fail (closed, disk full) or stop taking any. Lines that arrive during one turn of the
 * event loop, or during a write, are written together: each write to a pipe is a system call. While a write is under way
 * at most LARGEST_BACKLOG characters wait; further lines are dropped, as are those of a write that failed. Node keeps
 * `process.stdout` and `process.stderr` usable after an error, so later lines are tried again.
 * @param notice the line to write when lines are dropped
 * @param complain is called when the first line of several is dropped, and not again until a write has succeeded
 */
function lossyWriter(
  stream: NodeJS.WritableStream,
  notice: (loss: Loss) => string,
  complain: (reason: string) => void,
): Writable {
  let waiting = '';
  let count = 0;
  let writing = false;
  let lost = 0;
  let reason = '';
  let whenIdle: (() => void) | undefined;

  const lose = (lines: number, why: string) => {
    if (lost === 0) complain(why);
    lost += lines;
    reason = why;
  };
  const flush = () => {
    if (writing) return;
    if (waiting === '') return whenIdle?.();
    const told = lost;
    const lines = count;
    const text = told === 0 ? waiting : notice({ count: told, reason }) + waiting;
    waiting = '';
    count = 0;
    writing = true;
    stream.write(text, (error) => {
      writing = false;
      if (error) lose(lines, error.message);
      else lost -= told;
      flush();
    });
  };
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      if (waiting.length + line.length > LARGEST_BACKLOG) lose(1, 'nobody reads the log');
      else {
        if (waiting === '' && !writing) setImmediate(flush);
        waiting += line;
        count += 1;
      }
      done();
    },
    final(done) {
      const finish = () => {
        clearTimeout(timer);
        whenIdle = undefined;
        done();
      };
      const timer = setTimeout(finish, CLOSE_MS);
      whenIdle = finish;
      flush();
    },
  });
}

const line = (level: string, message: string, fields: LogFields) =>
  `${JSON.stringify({ timestamp: new Date().toISOString(), level, message, ...fields })}\n`;

/**
 * @param stream where the lines go, standard output unless given
 * @param complaints where one line says that, and why, lines are lost: standard error unless given
 */
export function createLog(
  level: string,
  stream: NodeJS.WritableStream = process.stdout,
  complaints: NodeJS.WritableStream = process.stderr,
): Log {
  const lines = lossyWriter(
    stream,
    // A disk that filled up may have taken half a line.
    (loss) => `\n${line('warn', 'log lines were lost', loss)}`,
    (reason) => void complaints.write(line('error', 'log lines are lost', { reason })),
  );
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

/** Lets this process outlive its output: a write that fails says so in its callback, and as an event nobody else hears. */
export function surviveClosedOutput(): void {
  for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
}

/** The stack of anything thrown, without the properties (parameters, details) that drivers hang on errors. */
export function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`;
  return (error.stack ?? error.message) + cause;
}
