import type { Fault } from './problems';

/** A fault as ajv finds it, whoever asked ajv: the place as a JSON Pointer, ajv's message and keyword. */
export type SchemaFault = { readonly pointer: string; readonly message: string; readonly keyword: string };

/** RFC 6901, 4. */
export const unescapePointer = (segment: string) => segment.replaceAll('~1', '/').replaceAll('~0', '~');

/** The value at a JSON Pointer (RFC 6901), undefined where there is none. */
export function valueAt(json: unknown, pointer: string): unknown {
  let value = json;
  for (const segment of pointer.split('/').slice(1))
    value = typeof value === 'object' && value !== null ? Reflect.get(value, unescapePointer(segment)) : undefined;
  return value;
}

/**
 * A fault in words that a CPO's developer understands: `must be an integer, got "1"`.
 * @param value what stands at the place; a pairing code is never told back
 * @param patterns what each pattern of the contract means
 */
export function inWords(fault: SchemaFault, value: unknown, patterns: ReadonlyMap<string, string>): Fault {
  return { pointer: fault.pointer, message: words(fault, value, patterns) };
}

function words(
  { pointer, message, keyword }: SchemaFault,
  value: unknown,
  patterns: ReadonlyMap<string, string>,
): string {
  const got = value === undefined ? '' : `, got ${pointer === '/code' || pointer === '' ? kindOf(value) : show(value)}`;
  const number = /-?[\d.]+$/.exec(message)?.[0];
  switch (keyword) {
    case 'required':
      return 'is required';
    case 'type': {
      const quotes = message === 'must be string' && typeof value === 'number';
      return `must be ${withArticle(message.replace('must be ', ''))}${got}${quotes ? ': put it in quotes (leading zeros count)' : ''}`;
    }
    case 'enum':
      return `must be one of ${message.split(': ')[1]}${got}`;
    case 'minimum':
      return `must be at least ${number}${got}`;
    case 'maximum':
      return `must be at most ${number}${got}`;
    case 'pattern':
      return `${patterns.get(/^must match pattern "(.*)"$/s.exec(message)?.[1] ?? '') ?? message}${got}`;
    case 'format':
      return `must be a ${/"(.*)"/.exec(message)?.[1]}${got}`;
    default:
      // must NOT have fewer than 1 items, must NOT have more than 48 characters
      return message
        .replace(/^must NOT have fewer than (\d+)/, 'must have at least $1')
        .replace(/^must NOT have more than (\d+)/, 'must have at most $1')
        .replace(/\b1 (item|character)s$/, '1 $1');
  }
}

const withArticle = (type: string) => (/^[aeio]/.test(type) ? `an ${type}` : `a ${type}`);

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return withArticle(typeof value);
}

function show(value: unknown): string {
  if (typeof value === 'object') return kindOf(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
