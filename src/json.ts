import { type ParseError, parse as parseTolerantly, printParseErrorCode } from 'jsonc-parser';
import type { Fault } from './problems';

const MAX_DEPTH = 64;

/** Bytes that are no JSON that can be stored: where, and what is wrong there. */
export class JsonFault extends Error {
  override readonly name = 'JsonFault';
  constructor(readonly fault: Fault) {
    super(`${fault.pointer} ${fault.message}`.trim());
  }
}

/**
 * Parses JSON in UTF-8, nested at most 64 deep, without NUL and lone surrogates. Of a repeated member the last counts.
 * @throws JsonFault
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decode(bytes);
  if (text.trim() === '') throw new JsonFault({ pointer: '', message: 'is empty, must be JSON' });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new JsonFault({ pointer: '', message: whereItBreaks(text) });
  }
  // Neither more nesting than brackets, nor NUL or surrogates without an escape: most bodies need no walk.
  if ((text.match(/[[{]/g)?.length ?? 0) > MAX_DEPTH || text.includes('\\u')) {
    const fault = unstorable(json);
    if (fault !== undefined) throw new JsonFault(fault);
  }
  return json;
}

/** Fatal, because U+FFFD in the place of what cannot be read would make one uid of two. */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new JsonFault({ pointer: '', message: 'is not valid UTF-8' });
  }
}

/** JSON.parse tells where only sometimes, and quotes what it was given, which may be a code. */
function whereItBreaks(text: string): string {
  const errors: ParseError[] = [];
  parseTolerantly(text, errors, { disallowComments: true });
  const [first] = errors;
  if (first === undefined) return 'is not valid JSON';
  const lines = text.slice(0, first.offset).split('\n');
  const words = printParseErrorCode(first.error)
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .trim();
  return `is not valid JSON at line ${lines.length}, column ${(lines.at(-1)?.length ?? 0) + 1}: ${words}`;
}

const escapePointer = (segment: string) => segment.replaceAll('~', '~0').replaceAll('/', '~1');

/** The first place that PostgreSQL could not store or that is nested too deep. A list, not recursion: 30,000 levels fit in a body. */
function unstorable(json: unknown): Fault | undefined {
  const open: { value: unknown; pointer: string; depth: number }[] = [{ value: json, pointer: '', depth: 0 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { value, pointer, depth } = at;
    if (typeof value === 'string' && !storable(value)) return { pointer, message: UNSTORABLE };
    if (typeof value !== 'object' || value === null) continue;
    if (depth === MAX_DEPTH) return { pointer, message: `is nested more than ${MAX_DEPTH} deep` };
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
