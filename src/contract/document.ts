import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Request, Response } from 'express';
import { parse } from 'yaml';
import type { components, operations } from './generated';

export type Schemas = components['schemas'];
export type OperationId = keyof operations;

type Parameters<Id extends OperationId, In extends string> = operations[Id] extends {
  parameters: { [K in In]?: infer P };
}
  ? [NonNullable<P>] extends [never]
    ? Record<string, never>
    : NonNullable<P>
  : Record<string, never>;
type Body<Id extends OperationId> = operations[Id] extends {
  requestBody: { content: { 'application/json': infer B } };
}
  ? B
  : undefined;

/** A request that was checked against the operation in openapi.yaml, typed by it. */
export type CheckedRequest<Id extends OperationId> = Omit<Request, 'params' | 'query' | 'body'> & {
  readonly params: Parameters<Id, 'path'>;
  readonly query: Parameters<Id, 'query'>;
  readonly body: Body<Id>;
};
export type Handler<Id extends OperationId> = (req: CheckedRequest<Id>, res: Response) => void | Promise<void>;
/** One handler per operation that is served here; the compiler says which is missing. */
export type Handlers = { [Id in Exclude<OperationId, `cpo${string}`>]: Handler<Id> };

export type OpenApiDocument = {
  openapi: string;
  info: { version: string };
  servers: { url: string; description?: string }[];
  paths: Record<string, Record<string, { operationId?: string; [key: string]: unknown }>>;
  components: Record<string, Record<string, unknown>>;
};

/** The path of a file of the project, from `src/` and from the built `dist/src/` alike. */
export function projectFile(name: string): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return join(directory, name);
}

export type Contract = { readonly text: string; readonly document: OpenApiDocument };

export function readContract(): Contract {
  const text = readFileSync(projectFile('openapi.yaml'), 'utf8');
  return { text, document: parse(text) as OpenApiDocument };
}

const METHODS = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']);

/** Every operation of the document: its id, method and path. */
export function operationsOf(document: OpenApiDocument) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => METHODS.has(method))
      .map(([method, operation]) => ({ id: operation.operationId ?? '', method, path, operation })),
  );
}

/** The half of the document that the SCSP serves, or the one that a CPO serves (`x-served-by: cpo`). */
export function servedBy(document: OpenApiDocument, party: 'scsp' | 'cpo'): OpenApiDocument {
  const theirs = (item: OpenApiDocument['paths'][string]) =>
    Object.values(item).some((operation) => Object(operation)['x-served-by'] === 'cpo');
  const paths = Object.entries(document.paths).filter(([, item]) => theirs(item) === (party === 'cpo'));
  return { ...document, paths: Object.fromEntries(paths) };
}

/** Returns a part of the document with what each `$ref` in it stands for. */
export function inlined<Part>(document: OpenApiDocument, part: Part): Part {
  const inline = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(inline);
    if (typeof node !== 'object' || node === null) return node;
    if (!('$ref' in node))
      return Object.fromEntries(Object.entries(node).map(([name, child]) => [name, inline(child)]));
    let found: unknown = document;
    for (const name of String(node.$ref).split('/').slice(1)) found = Reflect.get(Object(found), name);
    return inline(found);
  };
  return inline(part) as Part;
}

/**
 * Returns the document as express-openapi-validator can serve it:
 * - path-to-regexp takes `{payload-protocol}` for a parameter `payload` before a literal `-protocol`, unless the name is
 *   quoted;
 * - schemas of request bodies are inlined: ajv copies all errors found so far at each `$ref`;
 * - the validator refuses reserved characters in query parameters, among them `'`, `!`, `(`, `)` and `*`, which
 *   JavaScript's `encodeURIComponent` leaves as they are, unless each parameter allows them. In the published document
 *   that would make clients stop encoding `&`.
 */
export function routable(document: OpenApiDocument): OpenApiDocument {
  const quoted = (path: string) => path.replace(/\{([^}]*[^\w}][^}]*)\}/g, '{"$1"}');
  const withBodyInlined = (operation: object) =>
    'requestBody' in operation ? { ...operation, requestBody: inlined(document, operation.requestBody) } : operation;
  const paths = Object.entries(document.paths).map(([path, item]) => [
    quoted(path),
    Object.fromEntries(
      Object.entries(item).map(([name, part]) => [name, METHODS.has(name) ? withBodyInlined(part) : part]),
    ),
  ]);
  return allowReserved(structuredClone({ ...document, paths: Object.fromEntries(paths) }));
}

/** Sets `allowReserved` for every query parameter, in place. */
function allowReserved<Node>(node: Node): Node {
  if (typeof node !== 'object' || node === null) return node;
  if ('in' in node && node.in === 'query') Object.assign(node, { allowReserved: true });
  for (const child of Object.values(node)) allowReserved(child);
  return node;
}

/** What each `pattern` of the document means in words (`x-pattern-words`), for error messages. */
export function patternWords(document: OpenApiDocument): Map<string, string> {
  const words = new Map<string, string>();
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    if ('pattern' in node && 'x-pattern-words' in node)
      words.set(String(node.pattern), String(node['x-pattern-words']));
    for (const child of Object.values(node)) visit(child);
  };
  visit(document);
  return words;
}
