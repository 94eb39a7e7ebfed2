import { type ParseErrorCode, printParseErrorCode, visit } from 'jsonc-parser';
import type { ValidationError } from '../problems';

const MAX_DEPTH = 64;
const NO_JSON = 'is not valid JSON';
const TOO_DEEP = `is nested more than ${MAX_DEPTH} deep`;

/** Bytes that are no JSON that can be stored: where, and what is wrong there. */
export class JsonError extends Error {
  override readonly name = 'JsonFault';
  constructor(readonly validationError: ValidationError) {
    super(`${validationError.pointer} ${validationError.message}`.trim());
  }
}

/**
 * Parses JSON in UTF-8, nested at most 64 deep, without NUL and lone surrogates. Of a repeated member the last counts.
 * @throws JsonFault
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decode(bytes);
  if (text.trim() === '') throw new JsonError({ pointer: '', message: 'is empty, must be JSON' });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new JsonError({ pointer: '', message: whereItBreaks(text) });
  }
  // Neither more nesting than brackets, nor NUL or surrogates without an escape: most bodies need no walk.
  if ((text.match(/[[{]/g)?.length ?? 0) > MAX_DEPTH || text.includes('\\u')) {
    const error = unstorable(json);
    if (error !== undefined) throw new JsonError(error);
  }
  return json;
}

/** Fatal, because U+FFFD in the place of what cannot be read would make one uid of two. */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new JsonError({ pointer: '', message: 'is not valid UTF-8' });
  }
}

/** Ends the visit of a text at the first error. */
class Break extends Error {
  override readonly name = 'Break';
  constructor(
    readonly offset: number,
    readonly what: string,
    readonly why = '',
  ) {
    super(what);
  }
}

/**
 * Says where a text is no JSON: JSON.parse says it only sometimes, and quotes the text, which may hold a code. The visit
 * ends at the first error and at the depth limit: jsonc-parser recurses, and 65 kB of brackets would exhaust the stack.
 */
function whereItBreaks(text: string): string {
  let depth = 0;
  const deeper = (offset: number) => {
    depth += 1;
    if (depth > MAX_DEPTH) throw new Break(offset, TOO_DEEP);
  };
  const back = () => {
    depth -= 1;
  };
  const visitor = {
    onObjectBegin: deeper,
    onArrayBegin: deeper,
    onObjectEnd: back,
    onArrayEnd: back,
    onError(code: ParseErrorCode, offset: number) {
      throw new Break(offset, NO_JSON, `: ${wordsOf(code)}`);
    },
  };
  try {
    visit(text, visitor, { disallowComments: true });
  } catch (error) {
    if (!(error instanceof Break)) throw error;
    const { offset, what, why } = error;
    const before = text.slice(0, offset);
    const column = offset - before.lastIndexOf('\n');
    return `${what} at line ${before.split('\n').length}, column ${column}${why}`;
  }
  return NO_JSON;
}

/** `InvalidSymbol` as `invalid symbol`. */
const wordsOf = (code: ParseErrorCode) =>
  printParseErrorCode(code)
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .trim();

const escapePointer = (segment: string) => segment.replaceAll('~', '~0').replaceAll('/', '~1');

/** The first place that PostgreSQL could not store or that is nested too deep. A list, not recursion: 30,000 levels fit in a body. */
function unstorable(json: unknown): ValidationError | undefined {
  const open: { value: unknown; pointer: string; depth: number }[] = [{ value: json, pointer: '', depth: 0 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { value, pointer, depth } = at;
    if (typeof value === 'string' && !storable(value)) return { pointer, message: UNSTORABLE };
    if (typeof value !== 'object' || value === null) continue;
    if (depth === MAX_DEPTH) return { pointer, message: TOO_DEEP };
    for (const [name, child] of Object.entries(value)) {
      if (!storable(name)) return { pointer, message: `has a member whose name ${UNSTORABLE}` };
      if (typeof child === 'string' || typeof child === 'object')
        open.push({ value: child, pointer: `${pointer}/${escapePointer(name)}`, depth: depth + 1 });
    }
  }
  return undefined;
}

const UNSTORABLE = 'contains NUL or a lone surrogate';
const storable = (text: string) => !text.includes('\0') && text.isWellFormed();
