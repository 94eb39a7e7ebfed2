import { type ParseErrorCode, printParseErrorCode, visit } from 'jsonc-parser';
import type { ValidationError } from '../problems';

const MAX_DEPTH = 64;
const INVALID_JSON = 'is not valid JSON';
const TOO_DEEP = `is nested more than ${MAX_DEPTH} levels deep`;

/** Reports bytes that are not valid JSON, or JSON that PostgreSQL cannot store. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  constructor(readonly validationError: ValidationError) {
    super(`${validationError.pointer} ${validationError.message}`.trim());
  }
}

/**
 * Parses UTF-8 encoded JSON with at most 64 levels of nesting, without NUL and lone surrogates. Of duplicate members
 * the last one wins.
 * @throws JsonError
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decode(bytes);
  if (text.trim() === '') throw new JsonError({ pointer: '', message: 'is empty, but must be JSON' });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new JsonError({ pointer: '', message: describeSyntaxError(text) });
  }
  // Without an escape sequence there is no NUL or lone surrogate, and depth cannot exceed the number of brackets: most
  // bodies need no traversal.
  if ((text.match(/[[{]/g)?.length ?? 0) > MAX_DEPTH || text.includes('\\u')) {
    const error = findUnstorable(json);
    if (error !== undefined) throw new JsonError(error);
  }
  return json;
}

/** Decodes strictly: replacing invalid bytes by U+FFFD could make two different uids equal. */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new JsonError({ pointer: '', message: 'is not valid UTF-8' });
  }
}

/** Aborts jsonc-parser's `visit` at the first error. */
class VisitAborted extends Error {
  override readonly name = 'VisitAborted';
  constructor(
    readonly offset: number,
    readonly problem: string,
    readonly detail = '',
  ) {
    super(problem);
  }
}

/**
 * Describes the first syntax error with its line and column. `JSON.parse` does not always give the position, and it
 * quotes the text, which may contain a code. Stops at the depth limit, because jsonc-parser recurses and 65 kB of
 * brackets would overflow the stack.
 */
function describeSyntaxError(text: string): string {
  let depth = 0;
  const enter = (offset: number) => {
    depth += 1;
    if (depth > MAX_DEPTH) throw new VisitAborted(offset, TOO_DEEP);
  };
  const leave = () => {
    depth -= 1;
  };
  const visitor = {
    onObjectBegin: enter,
    onArrayBegin: enter,
    onObjectEnd: leave,
    onArrayEnd: leave,
    onError(code: ParseErrorCode, offset: number) {
      throw new VisitAborted(offset, INVALID_JSON, `: ${describeErrorCode(code)}`);
    },
  };
  try {
    visit(text, visitor, { disallowComments: true });
  } catch (error) {
    if (!(error instanceof VisitAborted)) throw error;
    const { offset, problem, detail } = error;
    const before = text.slice(0, offset);
    const column = offset - before.lastIndexOf('\n');
    return `${problem} at line ${before.split('\n').length}, column ${column}${detail}`;
  }
  return INVALID_JSON;
}

/** Converts `InvalidSymbol` to `invalid symbol`. */
const describeErrorCode = (code: ParseErrorCode) =>
  printParseErrorCode(code)
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .trim();

const escapePointer = (segment: string) => segment.replaceAll('~', '~0').replaceAll('/', '~1');

/** Finds a value that PostgreSQL cannot store or that is nested too deep. Iterates: a body can have 30,000 levels. */
function findUnstorable(json: unknown): ValidationError | undefined {
  const stack: { value: unknown; pointer: string; depth: number }[] = [{ value: json, pointer: '', depth: 0 }];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    const { value, pointer, depth } = node;
    if (typeof value === 'string' && !isStorable(value)) return { pointer, message: UNSTORABLE };
    if (typeof value !== 'object' || value === null) continue;
    if (depth === MAX_DEPTH) return { pointer, message: TOO_DEEP };
    for (const [name, child] of Object.entries(value)) {
      if (!isStorable(name)) return { pointer, message: `has a member whose name ${UNSTORABLE}` };
      if (typeof child === 'string' || typeof child === 'object')
        stack.push({ value: child, pointer: `${pointer}/${escapePointer(name)}`, depth: depth + 1 });
    }
  }
  return undefined;
}

const UNSTORABLE = 'contains NUL or a lone surrogate';
const isStorable = (text: string) => !text.includes('\0') && text.isWellFormed();
