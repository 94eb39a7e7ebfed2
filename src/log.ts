import { Writable } from 'node:stream';
import { createLogger, format, type Logger, transports } from 'winston';

/**
 * The fields of a log line besides level, message and timestamp. Others are dropped, so that no token, code or body is
 * logged.
 */
const FIELDS = [
  'url',
  'request_id',
  'call_request_id',
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
  'endpoint_id',
  'event_id',
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
  'run_id',
] as const;

export type LogFields = Partial<Record<(typeof FIELDS)[number], string | number | undefined>>;

/** Writes JSON lines. `error`: somebody must act; `warn`: the service recovered. */
export type Log = {
  [level in 'error' | 'warn' | 'info' | 'debug']: (message: string, fields?: LogFields) => void;
} & {
  /** Returns how many lines have been lost so far. */
  linesLost(): number;
  /** Resolves when every line has been written, or after 1 s when the stream accepts no data. */
  close(): Promise<void>;
};

const MESSAGE = Symbol.for('message');

/** Filters the fields, adds the timestamp and serialises in one step, because it runs for every request. */
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

/** The maximum number of characters buffered while the stream accepts no data: a few thousand lines. */
export const LARGEST_BACKLOG = 1_048_576;
/** How long `close` waits for a stream that accepts no data. */
const CLOSE_MS = 1_000;

type Loss = { readonly count: number; readonly reason: string };

/**
 * Creates a stream that writes lines to another stream, which may fail (closed, disk full) or stop accepting data. `lost` returns how
 * many lines have been lost so far.
 *
 * Lines that arrive during one turn of the event loop, or during a write, are written together: each write to a pipe is a
 * system call. During a write at most LARGEST_BACKLOG characters are buffered. Further lines are dropped, and so are the
 * lines of a failed write. Later lines are still written: Node keeps `process.stdout` and `process.stderr` usable after an
 * error.
 * @param lossLine formats the line that reports how many lines were dropped
 * @param onLoss called for the first dropped line, and not again before a write has succeeded
 */
function lossyWriter(
  stream: NodeJS.WritableStream,
  lossLine: (loss: Loss) => string,
  onLoss: (reason: string) => void,
): { readonly writable: Writable; lost(): number } {
  let waiting = '';
  let count = 0;
  let writing = false;
  let lost = 0;
  let lostInAll = 0;
  let reason = '';
  let whenIdle: (() => void) | undefined;

  const drop = (lines: number, why: string) => {
    if (lost === 0) onLoss(why);
    lost += lines;
    lostInAll += lines;
    reason = why;
  };
  const flush = () => {
    if (writing) return;
    if (waiting === '') return whenIdle?.();
    const reported = lost;
    const lines = count;
    const text = reported === 0 ? waiting : lossLine({ count: reported, reason }) + waiting;
    waiting = '';
    count = 0;
    writing = true;
    stream.write(text, (error) => {
      writing = false;
      if (error) drop(lines, error.message);
      else lost -= reported;
      flush();
    });
  };
  const writable = new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      if (waiting.length + line.length > LARGEST_BACKLOG) drop(1, 'nobody reads the log');
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
  return { writable, lost: () => lostInAll };
}

const line = (level: string, message: string, fields: LogFields) =>
  `${JSON.stringify({ timestamp: new Date().toISOString(), level, message, ...fields })}\n`;

/**
 * Creates a log.
 * @param stream receives the lines
 * @param errorStream receives one line with the reason when lines are lost
 */
export function createLog(
  level: string,
  stream: NodeJS.WritableStream = process.stdout,
  errorStream: NodeJS.WritableStream = process.stderr,
): Log {
  const { writable: lines, lost } = lossyWriter(
    stream,
    // A full disk may have cut the previous line short.
    (loss) => `\n${line('warn', 'log lines were lost', loss)}`,
    (reason) => void errorStream.write(line('error', 'log lines are lost', { reason })),
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
    linesLost: lost,
    close: () =>
      new Promise((resolve) => {
        logger.on('finish', () => lines.end(() => resolve()));
        logger.end();
      }),
  };
}

/**
 * Keeps a failed write to standard output or standard error from ending the process. The write's callback reports the error;
 * the `error` event that Node emits as well would otherwise be unhandled.
 */
export function ignoreOutputErrors(): void {
  for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
}

/**
 * Returns the stack of a thrown value and its causes, without the properties (parameters, details) that drivers add to
 * errors.
 */
export function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`;
  return (error.stack ?? error.message) + cause;
}
