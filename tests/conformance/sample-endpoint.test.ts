import { readFileSync } from 'node:fs';
import { parseCodes } from '../../src/conformance/cpo/codes-file';
import { projectFile } from '../../src/contract/document';
import { hasPython, startSampleEndpoint } from '../harness/a-sample-endpoint';
import { runKit, TOKEN, withVerdict } from '../harness/a-sandbox-cpo';

const withPython = hasPython ? test : test.skip;

withPython('docs/examples/endpoint.py passes all checks, required and recommended', async () => {
  const endpoint = await startSampleEndpoint(TOKEN);
  const report = await runKit(endpoint.url, { codes: parseCodes(readFileSync(endpoint.codesFile, 'utf8')) });
  expect(report.checks.filter(({ verdict }) => verdict === 'failed' || verdict === 'warning')).toEqual([]);
  expect(withVerdict(report, 'not_run')).toEqual(['transport-https', 'transport-address', 'transport-certificate']);
  expect(endpoint.said()).not.toContain('access_token');
});

withPython('docs/examples/endpoint.py takes a code with the spaces and dashes of a customer', async () => {
  const endpoint = await startSampleEndpoint(TOKEN);
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  const code = `${endpoint.code.slice(0, 3)} - ${endpoint.code.slice(3)}`;
  const pair = () =>
    fetch(`${endpoint.url}/v1/cpo/ocpp2.0.1/pair`, { method: 'POST', headers, body: JSON.stringify({ code }) });
  expect([(await pair()).status, (await pair()).status]).toEqual([200, 404]);
});

withPython('docs/examples/endpoint.py confirms to a sandbox that it wants to be called', async () => {
  const endpoint = await startSampleEndpoint(TOKEN, 'the-id-of-the-cpo');
  expect(await (await fetch(`${endpoint.url}/.well-known/scsp-pairing`)).text()).toBe('the-id-of-the-cpo');
});

test('docs/cpo-guide.md shows docs/examples/endpoint.py as it is', () => {
  const guide = readFileSync(projectFile('docs/cpo-guide.md'), 'utf8');
  expect(guide).toContain(`\`\`\`python\n${readFileSync(projectFile('docs/examples/endpoint.py'), 'utf8')}\`\`\``);
});
