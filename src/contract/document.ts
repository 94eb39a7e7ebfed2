import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Request, Response } from 'express';
import { load } from 'js-yaml';
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
  : operations[Id] extends { requestBody: { content: { 'application/x-www-form-urlencoded': infer B } } }
    ? B
    : operations[Id] extends { requestBody?: { content: { 'application/json': infer B } } }
      ? B | undefined
      : undefined;

/** A request that has been validated against its operation in openapi.yaml. */
export type CheckedRequest<Id extends OperationId> = Omit<Request, 'params' | 'query' | 'body'> & {
  readonly params: Parameters<Id, 'path'>;
  readonly query: Parameters<Id, 'query'>;
  readonly body: Body<Id>;
};
export type Handler<Id extends OperationId> = (req: CheckedRequest<Id>, res: Response) => void | Promise<void>;
type SandboxOperationId = Extract<OperationId, `sandbox${string}`>;
/**
 * Requires one handler per operation that this service serves; a missing one is a compile error. `cpo…` are served by CPOs,
 * `on…` (webhooks) by apps, `sandbox…` by sandbox deployments only.
 */
export type Handlers = {
  [Id in Exclude<OperationId, `cpo${string}` | `on${string}` | SandboxOperationId>]: Handler<Id>;
};
/** Requires one handler per operation that only a sandbox deployment serves (`x-sandbox` in openapi.yaml). */
export type SandboxHandlers = { [Id in SandboxOperationId]: Handler<Id> };

export type OpenApiDocument = {
  openapi: string;
  info: { version: string; description: string };
  servers: { url: string; description?: string }[];
  tags?: { name: string; 'x-sandbox'?: boolean }[];
  webhooks?: object;
  paths: Record<string, Record<string, { operationId?: string; [key: string]: unknown }>>;
  components: Record<string, Record<string, unknown>>;
};

/** Returns the path of a file in the project root, from `src/` as well as from the compiled `dist/src/`. */
export function projectFile(name: string): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return join(directory, name);
}

export type Contract = { readonly text: string; readonly document: OpenApiDocument };

/** Read and parsed once for each process; nobody may change the document. */
let contract: Contract | undefined;

export function readContract(): Contract {
  if (contract === undefined) {
    const text = readFileSync(projectFile('openapi.yaml'), 'utf8');
    contract = { text, document: load(text) as OpenApiDocument };
  }
  return contract;
}

export const METHODS = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']);

/** Lists the document's operations with their id, method and path. */
export function operationsOf(document: OpenApiDocument) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => METHODS.has(method))
      .map(([method, operation]) => ({ id: operation.operationId ?? '', method, path, operation })),
  );
}

/** Returns the document with only the paths that the given party serves (`x-served-by: cpo` marks those of CPOs). */
export function servedBy(document: OpenApiDocument, party: 'scsp' | 'cpo'): OpenApiDocument {
  const isServedByCpo = (item: OpenApiDocument['paths'][string]) =>
    Object.values(item).some((operation) => Object(operation)['x-served-by'] === 'cpo');
  const paths = Object.entries(document.paths).filter(([, item]) => isServedByCpo(item) === (party === 'cpo'));
  return { ...document, paths: Object.fromEntries(paths) };
}

/** Returns a part of the document with every `$ref` replaced by its target. */
export function dereference<Part>(document: OpenApiDocument, part: Part): Part {
  const resolve = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(resolve);
    if (typeof node !== 'object' || node === null) return node;
    if (!('$ref' in node))
      return Object.fromEntries(Object.entries(node).map(([name, child]) => [name, resolve(child)]));
    let found: unknown = document;
    for (const name of String(node.$ref).split('/').slice(1)) found = Reflect.get(Object(found), name);
    return resolve(found);
  };
  return resolve(part) as Part;
}

/**
 * Adapts the document to express-openapi-validator:
 * - Quotes parameter names: path-to-regexp reads `{payload-protocol}` as parameter `payload` and literal `-protocol`.
 * - Dereferences request body schemas: ajv copies all previous errors at each `$ref`.
 * - Sets `allowReserved` on query parameters: the validator rejects reserved characters such as `'`, `!` and `*`, which
 *   `encodeURIComponent` does not encode. In the published document it would make clients stop encoding `&`.
 * - Leaves out what no path refers to, and `application/problem+json` where it is another name of `application/json`: the
 *   validator walks through all paths and components for each media type of each response of an operation.
 */
export function toValidatorDocument({ webhooks: _, ...document }: OpenApiDocument): OpenApiDocument {
  const quoted = (path: string) => path.replace(/\{([^}]*[^\w}][^}]*)\}/g, '{"$1"}');
  const withBodyDereferenced = (operation: object) =>
    'requestBody' in operation
      ? { ...operation, requestBody: dereference(document, operation.requestBody) }
      : operation;
  const paths = Object.entries(document.paths).map(([path, item]) => [
    quoted(path),
    Object.fromEntries(
      Object.entries(item).map(([name, part]) => [name, METHODS.has(name) ? withBodyDereferenced(part) : part]),
    ),
  ]);
  const used = withUsedComponents({ ...document, paths: Object.fromEntries(paths) });
  return withOneJsonType(allowReserved(structuredClone(used)));
}

/** Removes `application/problem+json` beside `application/json` with the same content, in place. */
function withOneJsonType<Node>(node: Node): Node {
  if (typeof node !== 'object' || node === null) return node;
  if ('application/json' in node && 'application/problem+json' in node)
    if (node['application/json'] === node['application/problem+json'])
      Reflect.deleteProperty(node, 'application/problem+json');
  for (const child of Object.values(node)) withOneJsonType(child);
  return node;
}

/** Returns the document with only the components that its paths refer to, and with its security schemes. */
function withUsedComponents(document: OpenApiDocument): OpenApiDocument {
  const { securitySchemes = {} } = document.components;
  const components: OpenApiDocument['components'] = { securitySchemes };
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    if ('$ref' in node) {
      const [, , kind = '', name = ''] = String(node.$ref).split('/');
      components[kind] ??= {};
      if (name in components[kind]) return;
      components[kind][name] = document.components[kind]?.[name];
      visit(components[kind][name]);
    }
    for (const child of Object.values(node)) visit(child);
  };
  visit(document.paths);
  return { ...document, components };
}

/** Sets `allowReserved` on every query parameter, in place. */
function allowReserved<Node>(node: Node): Node {
  if (typeof node !== 'object' || node === null) return node;
  if ('in' in node && node.in === 'query') Object.assign(node, { allowReserved: true });
  for (const child of Object.values(node)) allowReserved(child);
  return node;
}

/** Returns the error message of each `pattern` in the document (`x-pattern-words`). */
export function patternMessages(document: OpenApiDocument): Map<string, string> {
  const messages = new Map<string, string>();
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    if ('pattern' in node && 'x-pattern-words' in node)
      messages.set(String(node.pattern), String(node['x-pattern-words']));
    for (const child of Object.values(node)) visit(child);
  };
  visit(document);
  return messages;
}
