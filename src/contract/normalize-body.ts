import { dereference, type OpenApiDocument } from './document';

type Schema = {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly maxItems?: number;
};

/** Normalises a parsed body in place. */
export type NormalizeBody = (body: unknown) => void;

/**
 * Creates a function that normalises a body before validation:
 * - Removes optional members that are null: they count as absent (contract, section 3).
 * - Truncates arrays to one item more than `maxItems`, which is still an error. The validator collects all errors, and
 *   65 kB of `{}` in one array would produce 87,000 of them.
 */
export function bodyNormalizer(document: OpenApiDocument, schema: object): NormalizeBody {
  return normalizer(dereference(document, schema)) ?? (() => {});
}

/** Returns undefined for a schema without anything to normalise. */
function normalizer({ properties, required = [], items, maxItems }: Schema): NormalizeBody | undefined {
  if (items !== undefined) return arrayNormalizer(normalizer(items), maxItems);
  if (properties === undefined) return undefined;
  const members = Object.entries(properties).map(([name, schema]) => ({
    name,
    isOptional: !required.includes(name) && !isNullable(schema),
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

function arrayNormalizer(normalizeItem: NormalizeBody | undefined, maxItems = Number.POSITIVE_INFINITY): NormalizeBody {
  return (array) => {
    if (!Array.isArray(array)) return;
    if (array.length > maxItems) array.length = maxItems + 1;
    if (normalizeItem !== undefined) for (const item of array) normalizeItem(item);
  };
}

const isNullable = ({ type }: Schema) => Array.isArray(type) && type.includes('null');
