import { type OpenApiDocument, operationsOf, servedBy } from '../../src/contract/document';
import { resolved, type Schema } from './widest-bodies';

type Operation = ReturnType<typeof operationsOf>[number];

/** An operation that pairs in one payload protocol. */
export type PairOperation = { readonly protocol: string; readonly operation: Operation };

/** The operations of one half of the contract that pair, one for each protocol: a literal path, or a value of the path's enum. */
export function pairOperations(document: OpenApiDocument, party: 'scsp' | 'cpo'): PairOperation[] {
  return operationsOf(servedBy(document, party)).flatMap((operation) => {
    const segment = new RegExp(`^/v1/${party}/([^/]+)/pair$`).exec(operation.path)?.[1];
    if (segment === undefined) return [];
    if (!segment.startsWith('{')) return [{ protocol: segment, operation }];
    const parameter = parametersOf(document, operation).find(({ name }) => `{${name}}` === segment);
    return (parameter?.schema?.enum ?? []).map((protocol) => ({ protocol: String(protocol), operation }));
  });
}

export type Parameter = { readonly name: string; readonly in: string; readonly required?: boolean; schema?: Schema };

/** The parameters of an operation, those of its path included. */
export function parametersOf(document: OpenApiDocument, { path, operation }: Operation): Parameter[] {
  const given = [document.paths[path]?.parameters, operation.parameters].flatMap((list) => (list ?? []) as Schema[]);
  return given
    .map((parameter) => resolved(document, parameter) as unknown as Parameter)
    .map((parameter) => ({ ...parameter, schema: resolved(document, parameter.schema ?? {}) }));
}

/** The schema of an operation's body, JSON or a form, or of its first successful JSON response. */
export function jsonSchema(document: OpenApiDocument, { operation }: Operation, of: 'request' | 'response'): Schema {
  const responses = operation.responses as Record<string, Schema>;
  const success = Object.entries(responses).find(([status]) => status.startsWith('2'))?.[1];
  const part = of === 'request' ? (operation.requestBody as Schema | undefined) : success;
  const { content } = resolved(document, part ?? {}) as { content?: Record<string, { schema: Schema }> };
  const { schema = {} } = content?.['application/json'] ?? content?.['application/x-www-form-urlencoded'] ?? {};
  return resolved(document, schema);
}

/** A station of a payload protocol: the member of the body that describes it, and its schema. */
export function stationOf(document: OpenApiDocument, { operation }: PairOperation): { member: string; schema: Schema } {
  const { properties = {} } = jsonSchema(document, operation, 'request');
  const [[member, schema] = ['', {}], ...others] = Object.entries(properties).filter(([name]) => name !== 'code');
  if (member === '' || others.length > 0)
    throw new Error(`${operation.id}: the body must have a code and one member that describes the station`);
  return { member, schema: resolved(document, schema) };
}
