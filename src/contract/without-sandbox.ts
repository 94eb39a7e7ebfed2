import { type Contract, METHODS, type OpenApiDocument } from './document';

type PathItem = OpenApiDocument['paths'][string];

/**
 * Returns the contract of a deployment that is no sandbox: without the operations, tags and components that are marked
 * `x-sandbox`, and the responses that refer to one.
 */
export function withoutSandbox({ text, document }: Contract): Contract {
  const paths = Object.entries(document.paths)
    .filter(([, item]) => !hasMarkedOperation(item))
    .map(([path, item]) => [path, withoutMarkedResponses(document, item)]);
  const components = Object.entries(document.components).map(([kind, parts]) => [
    kind,
    Object.fromEntries(Object.entries(parts).filter(([, part]) => !isMarked(part))),
  ]);
  const tags = document.tags?.filter((tag) => !isMarked(tag));
  return {
    text: textWithoutSandbox(text, document),
    document: {
      ...document,
      ...(tags && { tags }),
      paths: Object.fromEntries(paths),
      components: Object.fromEntries(components),
    },
  };
}

const isMarked = (part: unknown) => Object(part)['x-sandbox'] === true;
const hasMarkedOperation = (item: PathItem) => Object.values(item).some(isMarked);

/** Lists references to the responses that are marked. */
function markedResponses({ components }: OpenApiDocument): string[] {
  const marked = Object.entries(components.responses ?? {}).filter(([, response]) => isMarked(response));
  return marked.map(([name]) => `#/components/responses/${name}`);
}

function withoutMarkedResponses(document: OpenApiDocument, item: PathItem): PathItem {
  const references = markedResponses(document);
  const operations = Object.entries(item).map(([name, part]): [string, PathItem[string]] => {
    if (!METHODS.has(name) || part.responses === undefined) return [name, part];
    const responses = Object.entries(Object(part.responses)).filter(
      ([, response]) => !references.includes(Object(response).$ref),
    );
    return [name, { ...part, responses: Object.fromEntries(responses) }];
  });
  return Object.fromEntries(operations);
}

/**
 * Cuts what is marked out of the text, which stays as it is otherwise: the first line of each part, and what is indented deeper.
 * Reading the YAML a second time would take as long as the rest of a start.
 */
function textWithoutSandbox(text: string, document: OpenApiDocument): string {
  const { paths, components, tags = [] } = document;
  const marked = Object.values(components).flatMap((parts) =>
    Object.entries(parts).filter(([, part]) => isMarked(part)),
  );
  const firstLines = new Set([
    ...tags.filter(isMarked).map(({ name }) => `  - name: ${name}`),
    ...Object.keys(paths).flatMap((path) => (hasMarkedOperation(paths[path] ?? {}) ? [`  ${path}:`] : [])),
    ...marked.map(([name]) => `    ${name}:`),
  ]);
  const references = markedResponses(document).map((reference) => `: { $ref: '${reference}' }`);
  const isFirst = (line: string) => firstLines.has(line) || references.some((reference) => line.endsWith(reference));
  /** How far the part is indented that is being cut. */
  let cut: number | undefined;
  const kept = text.split('\n').filter((line) => {
    const indent = line.search(/\S/);
    if (cut !== undefined && (indent === -1 || indent > cut)) return false;
    cut = isFirst(line) ? indent : undefined;
    return cut === undefined;
  });
  return kept.join('\n');
}
