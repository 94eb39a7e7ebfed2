import type { ValidationError } from '../problems';
import { formatWords } from './formats';

/** An error as ajv reports it: the place as a JSON Pointer, ajv's message and keyword. */
export type SchemaError = { readonly pointer: string; readonly message: string; readonly keyword: string };

/** RFC 6901, 4. */
export const unescapePointer = (segment: string) => segment.replaceAll('~1', '/').replaceAll('~0', '~');

/** Returns the value at a JSON Pointer (RFC 6901), undefined where there is none. */
export function evaluatePointer(json: unknown, pointer: string): unknown {
  let value = json;
  for (const segment of pointer.split('/').slice(1))
    value = typeof value === 'object' && value !== null ? Reflect.get(value, unescapePointer(segment)) : undefined;
  return value;
}

/**
 * Words an error for the developer at the other side: `must be an integer`, got `"1"`.
 * @param value what stands at the place, undefined to leave it out; a pairing code is never shown
 * @param patterns the meaning of each pattern of the contract
 */
export function inWords(error: SchemaError, value: unknown, patterns: ReadonlyMap<string, string>): ValidationError {
  const { pointer, message, keyword } = error;
  const quotes = keyword === 'type' && message === 'must be string' && typeof value === 'number';
  const shown = value === undefined || !SHOWN.has(keyword) ? undefined : showAt(pointer, value);
  return {
    pointer,
    message: words(error, patterns),
    ...(shown !== undefined && { got: quotes ? `${shown}: put it in quotes (leading zeros count)` : shown }),
  };
}

/** Keywords of which it helps to see the value. */
const SHOWN = new Set(['type', 'enum', 'minimum', 'maximum', 'pattern', 'format']);

function words({ message, keyword }: SchemaError, patterns: ReadonlyMap<string, string>): string {
  const number = /-?[\d.]+$/.exec(message)?.[0];
  switch (keyword) {
    case 'required':
      return 'is required';
    case 'type':
      return `must be ${withArticle(message.replace('must be ', ''))}`;
    case 'enum':
      return `must be one of ${message.split(': ')[1]}`;
    case 'minimum':
      return `must be at least ${number}`;
    case 'maximum':
      return `must be at most ${number}`;
    case 'pattern':
      return patterns.get(/^must match pattern "(.*)"$/s.exec(message)?.[1] ?? '') ?? message;
    case 'format': {
      const name = /"(.*)"/.exec(message)?.[1] ?? '';
      return formatWords(name) ?? `must be a ${name}`;
    }
    default:
      // must NOT have fewer than 1 items, must NOT have more than 48 characters
      return message
        .replace(/^must NOT have fewer than (\d+)/, 'must have at least $1')
        .replace(/^must NOT have more than (\d+)/, 'must have at most $1')
        .replace(/\b1 (item|character)s$/, '1 $1');
  }
}

const withArticle = (type: string) => (/^[aeio]/.test(type) ? `an ${type}` : `a ${type}`);

function showAt(pointer: string, value: unknown): string {
  return pointer === '/code' || pointer === '' ? kindOf(value) : show(value);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return withArticle(typeof value);
}

/** Shows a value in an error message, cut to 60 characters. */
export function show(value: unknown): string {
  if (typeof value === 'object') return kindOf(value);
  if (typeof value === 'number') return showNumber(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57).toWellFormed()}…` : text;
}

/** JSON has no limits for numbers; a double has, and JSON.stringify makes `null` of infinity and `0` of -0. */
function showNumber(value: number): string {
  if (!Number.isFinite(value)) return 'a number that is too large';
  if (Object.is(value, -0)) return '-0';
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? `about ${value.toExponential(2)}` : String(value);
}
