import { inlined, type OpenApiDocument } from './document';

type Schema = {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly maxItems?: number;
};

/** Changes a parsed body in place. */
export type NormalizeBody = (body: unknown) => void;

/**
 * Returns a function that prepares a body for the validator, which then reports the same as it would of the body as sent:
 * - an optional member that is null counts as absent (contract, section 3) and is removed;
 * - a list is cut to one item more than its `maxItems`: the validator collects all errors, and without a bound on their
 *   number 65 kB of `{}` in one list would be 87,000 of them.
 */
export function bodyNormalizer(document: OpenApiDocument, schema: object): NormalizeBody {
  return normalizer(inlined(document, schema)) ?? (() => {});
}

/** Undefined for a schema that has nothing to normalise. */
function normalizer({ properties, required = [], items, maxItems }: Schema): NormalizeBody | undefined {
  if (items !== undefined) return listNormalizer(normalizer(items), maxItems);
  if (properties === undefined) return undefined;
  const members = Object.entries(properties).map(([name, schema]) => ({
    name,
    isOptional: !required.includes(name) && !takesNull(schema),
    normalize: normalizer(schema),
  }));
  return (body) => {
    if (typeof body !== 'object' || body === null) return;
    for (const { name, isOptional, normalize } of members) {
      if (!Object.hasOwn(body, name)) continue;
      const value: unknown = Reflect.get(body, name);
      if (value === null && isOptional) Reflect.deleteProperty(body, name);
      else normalize?.(value);
    }
  };
}

function listNormalizer(normalizeItem: NormalizeBody | undefined, maxItems = Number.POSITIVE_INFINITY): NormalizeBody {
  return (list) => {
    if (!Array.isArray(list)) return;
    if (list.length > maxItems) list.length = maxItems + 1;
    if (normalizeItem !== undefined) for (const item of list) normalizeItem(item);
  };
}

const takesNull = ({ type }: Schema) => Array.isArray(type) && type.includes('null');
