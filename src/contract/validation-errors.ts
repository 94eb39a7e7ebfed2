import type { ValidationError } from '../problems';
import { formatMessage } from './formats';

/** An error reported by ajv, with its location as a JSON Pointer. */
export type SchemaError = { readonly pointer: string; readonly message: string; readonly keyword: string };

/** Decodes a reference token (RFC 6901, section 4). */
export const unescapePointer = (segment: string) => segment.replaceAll('~1', '/').replaceAll('~0', '~');

/** Evaluates a JSON Pointer (RFC 6901). Returns undefined if it references a nonexistent value. */
export function evaluatePointer(json: unknown, pointer: string): unknown {
  let value = json;
  for (const segment of pointer.split('/').slice(1))
    value = typeof value === 'object' && value !== null ? Reflect.get(value, unescapePointer(segment)) : undefined;
  return value;
}

/**
 * Converts an ajv error to a validation error for the caller's developer: `must be an integer`, got `"1"`.
 * @param value the value at the pointer, undefined to omit it; a pairing code is never included
 * @param patterns the error message of each `pattern` in the contract
 */
export function toValidationError(
  error: SchemaError,
  value: unknown,
  patterns: ReadonlyMap<string, string>,
): ValidationError {
  const { pointer, message, keyword } = error;
  const quotes = keyword === 'type' && message === 'must be string' && typeof value === 'number';
  const shown = value === undefined || !KEYWORDS_WITH_VALUE.has(keyword) ? undefined : formatValueAt(pointer, value);
  return {
    pointer,
    message: messageOf(error, patterns),
    ...(shown !== undefined && { got: quotes ? `${shown}: put it in quotes (leading zeros are significant)` : shown }),
  };
}

/** Lists the keywords whose errors include the offending value. */
const KEYWORDS_WITH_VALUE = new Set(['type', 'enum', 'minimum', 'maximum', 'pattern', 'format']);

function messageOf({ message, keyword }: SchemaError, patterns: ReadonlyMap<string, string>): string {
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
      return formatMessage(name) ?? `must be a ${name}`;
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

function formatValueAt(pointer: string, value: unknown): string {
  return pointer === '/code' || pointer === '' ? typeName(value) : formatValue(value);
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return withArticle(typeof value);
}

/** Formats a value for an error message, truncated to 60 characters. */
export function formatValue(value: unknown): string {
  if (typeof value === 'object') return typeName(value);
  if (typeof value === 'number') return formatNumber(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57).toWellFormed()}…` : text;
}

/** Formats a number, including those that `JSON.stringify` changes: infinity becomes `null`, and -0 becomes `0`. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return 'a number that is too large';
  if (Object.is(value, -0)) return '-0';
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? `about ${value.toExponential(2)}` : String(value);
}
