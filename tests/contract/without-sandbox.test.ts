import { readContract } from '../../src/contract/document';
import { withoutSandbox } from '../../src/contract/without-sandbox';
import { parseYaml } from '../harness/yaml';

const contract = readContract();

const TAG = '  - name: Extra\n    x-sandbox: true\n    description: |\n      One more tag.\n';
const PATH = '  /extra:\n    get:\n      x-sandbox: true\n      operationId: sandboxExtra\n      responses: {}\n';

/** The contract with one more tag and one more path. */
function extended(tag: string, path: string) {
  const text = contract.text.replace('\ntags:\n', `\ntags:\n${tag}`).replace('\npaths:\n', `\npaths:\n${path}`);
  return { text, document: parseYaml(text) };
}

test('a deployment that is no sandbox serves neither tags nor operations that are marked, in its text and its document', () => {
  const without = withoutSandbox(contract);
  const { text, document } = withoutSandbox(extended(TAG, PATH));
  expect(document).toEqual(without.document);
  expect(text).toBe(without.text);
  expect(parseYaml(text)).toEqual(document);
});

test('what is not marked stays in the text to the letter', () => {
  const [tag, path] = [TAG, PATH].map((part) => part.replace(/ +x-sandbox: true\n/, ''));
  const unmarked = extended(tag ?? '', path ?? '');
  const { text, document } = withoutSandbox(unmarked);
  for (const line of [tag, path]) expect(text).toContain(line);
  expect(Object.keys(document.paths)).toContain('/extra');
  expect(parseYaml(text)).toEqual(document);
});
