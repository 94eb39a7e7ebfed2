import type { OpenApiDocument } from '../../src/contract/document';
import { resolved, type Schema } from './widest-bodies';

/** What a body has, at every level. Values of one kind differ from each other. */
export const MEMBERS = [
  'every member',
  'the largest values',
  'required members only',
  'null for each optional member',
] as const;
export type Members = (typeof MEMBERS)[number];

/**
 * Builds a valid body from a schema.
 * @throws Error for a schema that this function does not know how to fill
 */
export function bodyOfSchema(document: OpenApiDocument, root: Schema, members: Members): unknown {
  const built = new Map<Schema, number>();
  let values = 0;
  const build = (given: Schema, name: string): unknown => {
    const schema = resolved(document, given);
    const { properties, required = [], items, minItems = 0, maxItems = 2 } = schema;
    if (properties !== undefined)
      return Object.fromEntries(
        Object.entries(properties)
          .filter(([member]) => members !== 'required members only' || required.includes(member))
          .map(([member, child]) => [
            member,
            members === 'null for each optional member' && !required.includes(member) ? null : build(child, member),
          ]),
      );
    if (items !== undefined) {
      const length = members === 'every member' || members === 'the largest values' ? Math.max(2, minItems) : minItems;
      return Array.from({ length: Math.min(length, maxItems) }, () => build(items, name));
    }
    const earlier = built.get(schema) ?? 0;
    built.set(schema, earlier + 1);
    values += 1;
    return scalar(
      schema,
      name,
      members === 'the largest values' ? { fromLargest: earlier } : { fromSmallest: values },
      earlier,
    );
  };
  return build(root, 'body');
}

type Position = { readonly fromLargest: number } | { readonly fromSmallest: number };

function scalar(schema: Schema, name: string, position: Position, earlier: number): unknown {
  const { type, enum: values, format, pattern } = schema;
  if ('const' in schema) return schema.const;
  if (values !== undefined) return values[earlier % values.length];
  if (type === 'boolean') return true;
  if (type === 'integer' || type === 'number') {
    const { minimum = 0, maximum = 2_147_483_647 } = schema;
    const value = 'fromLargest' in position ? maximum - position.fromLargest : minimum + position.fromSmallest;
    return Math.min(maximum, Math.max(minimum, value));
  }
  if (format === 'uuid') return `00000000-0000-4000-8000-${String(Object.values(position)[0]).padStart(12, '0')}`;
  const fits = (text: string) => pattern === undefined || new RegExp(pattern).test(text);
  const text = format === undefined || format === 'printable' ? words(schema, name, position) : undefined;
  if (type !== 'string' || text === undefined || !fits(text))
    throw new Error(`no value for ${name}: teach tests/harness/body-of-schema.ts to fill ${JSON.stringify(schema)}`);
  return text;
}

function words({ minLength = 0, maxLength = 200 }: Schema, name: string, position: Position): string {
  if ('fromLargest' in position) {
    const end = `-${position.fromLargest}`;
    return `${'X'.repeat(maxLength - end.length)}${end}`;
  }
  const end = `-${position.fromSmallest}`;
  return `${name.slice(0, maxLength - end.length).padEnd(minLength - end.length, 'x')}${end}`;
}

/** What of a body is not found again as it was sent, in words; empty when it is all there. */
export function differences(sent: unknown, found: unknown, pointer = ''): string[] {
  if (typeof sent === 'object' && sent !== null && typeof found === 'object' && found !== null) {
    const names = new Set([...Object.keys(sent), ...Object.keys(found)]);
    return [...names].flatMap((name) =>
      differences(Reflect.get(sent, name), Reflect.get(found, name), `${pointer}/${name}`),
    );
  }
  if (sent === found) return [];
  const [was, is] = [JSON.stringify(sent), JSON.stringify(found)];
  if (found === undefined) return [`${pointer} was sent as ${was} and is missing`];
  return [sent === undefined ? `${pointer} was not sent and is ${is}` : `${pointer} was sent as ${was} and is ${is}`];
}
