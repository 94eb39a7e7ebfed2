import { type OpenApiDocument, operationsOf, servedBy } from '../../src/contract/document';
import { problems } from '../../src/contract/problem-types';
import { resolved, type Schema } from './widest-bodies';

/** The types of problem that an operation declares, by status; none for a status that is no problem. */
export type Declared = ReadonlyMap<string, readonly string[]>;

/** What each operation that is served here declares, and under `none` what is answered without an operation. */
export function declaredProblems(document: OpenApiDocument): ReadonlyMap<string, Declared> {
  const operations = operationsOf(servedBy(document, 'scsp')).map(({ id, operation }): [string, Declared] => {
    const responses = Object.entries(operation.responses as Record<string, Schema>);
    return [id, new Map(responses.map(([status, response]) => [status, typesOf(resolved(document, response))]))];
  });
  const before = new Map<string, string[]>();
  for (const type of typesOf(document)) {
    const [status] = problems[type as keyof typeof problems] ?? [0];
    before.set(String(status), [...(before.get(String(status)) ?? []), type]);
  }
  return new Map([...operations, ['none', before]]);
}

const typesOf = (part: object): string[] => Reflect.get(part, 'x-problem-types') ?? [];

/** How an answer breaks what its operation declares, in words. */
export function undeclared(
  declared: ReadonlyMap<string, Declared>,
  { operation, status, problem }: { operation: string; status: number; problem?: string | undefined },
): string | undefined {
  // Pages and files have no operation; 499 is no answer but a caller that left.
  if ((operation === 'none' && problem === undefined) || status === 499) return undefined;
  const types = declared.get(operation)?.get(String(status));
  const where = operation === 'none' ? 'the document as a whole' : operation;
  if (types === undefined)
    return `${where} does not declare ${status}${problem ? ` (${problem})` : ''} in openapi.yaml`;
  if (problem !== undefined && !types.includes(problem))
    return `${where} does not declare ${problem} in the x-problem-types of its ${status} in openapi.yaml`;
  return undefined;
}
