import type { OpenApiDocument } from '../../src/contract/document';

/** The largest body, said once more here so that a test notices a change. */
const SIZE = 65_536;

export type Schema = {
  $ref?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  enum?: unknown[];
  const?: unknown;
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
};

/** A schema of the document without its reference. */
export function resolved(document: OpenApiDocument, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  let found: unknown = document;
  for (const name of schema.$ref.split('/').slice(1)) found = Reflect.get(Object(found), name);
  return resolved(document, found as Schema);
}

/** Every place that a schema describes, the whole first; `0` stands for an item of a list. */
export function placesOf(document: OpenApiDocument, root: Schema): { path: string[]; schema: Schema }[] {
  const visit = (path: string[], given: Schema): ReturnType<typeof placesOf> => {
    const schema = resolved(document, given);
    return [
      { path, schema },
      ...Object.entries(schema.properties ?? {}).flatMap(([name, child]) => visit([...path, name], child)),
      ...(schema.items === undefined ? [] : visit([...path, '0'], schema.items)),
    ];
  };
  return visit([], root);
}

const HOLE = '<hole>';

/** The smallest valid JSON of a schema, with other JSON at one place. */
export function validJson(document: OpenApiDocument, root: Schema, path?: readonly string[], json = ''): string {
  const build = (given: Schema, way: readonly string[] | undefined): unknown => {
    if (way?.length === 0) return HOLE;
    const { properties, required, items, type, format, enum: values } = resolved(document, given);
    const [next, ...rest] = way ?? [];
    if (properties !== undefined)
      return Object.fromEntries(
        Object.entries(properties)
          .filter(([name]) => name === next || required?.includes(name))
          .map(([name, child]) => [name, build(child, name === next ? rest : undefined)]),
      );
    if (items !== undefined) return [build(items, way && rest)];
    if (values !== undefined) return values[0];
    if (format === 'uuid') return '019370a4-5e3b-7c31-9d2e-6f0b1c2d3e4f';
    return type === 'integer' ? 1 : '1';
  };
  return JSON.stringify(build(root, path)).replace(`"${HOLE}"`, () => json);
}

/** JSON of an object whose every member breaks the schema. */
function allWrong(document: OpenApiDocument, schema: Schema): string {
  const members = Object.entries(schema.properties ?? {}).map(([name, child]) => {
    const { type } = resolved(document, child);
    return `"${name}":${type === 'string' ? '0' : '""'}`;
  });
  return `{${members.join(',')}}`;
}

/** JSON in which every list is one longer than it may be, of items without their members. */
function overfull(document: OpenApiDocument, given: Schema): string | undefined {
  const { items, maxItems = 100, properties } = resolved(document, given);
  if (items !== undefined) return `[${Array(maxItems + 1).fill(overfull(document, items) ?? '0')}]`;
  if (properties === undefined) return undefined;
  const members = Object.entries(properties).map(([name, child]) => {
    const json = overfull(document, child);
    return json === undefined ? [] : [`"${name}":${json}`];
  });
  return `{${members.flat()}}`;
}

/** As many different items between two brackets as fit in so many characters. */
function fill(room: number, brackets: string, item: (n: number) => string): string {
  const items: string[] = [];
  for (let n = 0, size = 2; ; n++) {
    const next = item(n);
    size += next.length + 1;
    if (size > room + 1) return `${brackets[0]}${items}${brackets[1]}`;
    items.push(next);
  }
}

const times = (text: string, room: number) => text.repeat(Math.floor(room / text.length));

/** Bodies of at most the largest size, wide or deep at every place of a schema in every way. */
export function widestBodies(document: OpenApiDocument, root: Schema): { name: string; body: string }[] {
  const bodies: Record<string, string> = { 'every list too long': overfull(document, root) ?? '' };
  for (const { path, schema } of placesOf(document, root)) {
    const room = SIZE - validJson(document, root, path).length;
    const add = (kind: string, json: string) => {
      bodies[`/${path.join('/')}: ${kind}`] = validJson(document, root, path, json);
    };
    if (schema.items !== undefined) {
      const item = resolved(document, schema.items);
      const items = { valid: validJson(document, item), 'all wrong': allWrong(document, item) };
      for (const [kind, json] of Object.entries({
        ...items,
        '{}': '{}',
        '[]': '[]',
        '0': '0',
        null: 'null',
        '""': '""',
      }))
        add(
          `a list of ${kind}`,
          fill(room, '[]', () => json),
        );
    }
    if (schema.properties !== undefined) {
      add(
        'unknown members',
        fill(room, '{}', (n) => `"m${n.toString(36)}":0`),
      );
      add(
        'unknown members with numbers for names',
        fill(room, '{}', (n) => `"${n * 65_536}":{}`),
      );
      add(
        'unknown members with escapes',
        fill(room, '{}', (n) => `"\\u0061${n}~/":[[]]`),
      );
      add(
        'members without a name',
        fill(room, '{}', () => '"":null'),
      );
      for (const name of Object.keys(schema.properties)) {
        add(
          `${name} again and again`,
          fill(room, '{}', () => `"${name}":[{}]`),
        );
        add(
          `null for ${name} again and again`,
          fill(room, '{}', () => `"${name}":null`),
        );
      }
    }
    add('nested lists', `${times('[', room / 2)}${times(']', room / 2)}`);
    add('nested objects', `${times('{"a":', ((room - 1) * 5) / 6)}0${times('}', (room - 1) / 6)}`);
    add('escapes', `"${times('\\u0041', room - 2)}"`);
    add('backslashes', `"${times('\\\\', room - 2)}"`);
    add('lone surrogates', `"${times('\\ud800', room - 2)}"`);
    add('two bytes each', `"${times('é', (room - 2) / 2)}"`);
    add('digits', times('9', room));
    // Where a text stops being JSON is found before any schema is looked at: the whole and one place in it stand for all.
    if (path.length > 1) continue;
    for (const open of [
      '[',
      '{"a":',
      '[{"a":',
      '{',
      '[}',
      '"',
      '\\',
      ',',
      '\n',
      '1 ',
      '/*',
      '//\n',
      '"\\',
      '[1,',
      '{"a":1,',
    ])
      add(`${JSON.stringify(open)} without end`, times(open, room));
  }
  return Object.entries(bodies).map(([name, body]) => {
    if (Buffer.byteLength(body) > SIZE) throw new RangeError(`${name} is too large: ${Buffer.byteLength(body)}`);
    return { name, body };
  });
}
