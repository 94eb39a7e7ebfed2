import { readFileSync } from 'node:fs';
import growth from '../bench/results/growth.json';
import node20 from '../bench/results/node-20.json';
import node24 from '../bench/results/node-24.json';
import { projectFile } from '../src/contract/document';

const textOf = (file: string) => readFileSync(projectFile(file), 'utf8').replace(/\s+/g, ' ');
const whole = (value: number) => Math.round(value).toLocaleString('en');
const two = (value: number) => value.toFixed(2);

type Cost = { serviceUs: number; postgresUs: number };
const costs = (what: string, { serviceUs, postgresUs }: Cost) =>
  `| ${what} | ${whole(serviceUs)} | ${whole(postgresUs)} |`;
const total = ({ serviceUs, postgresUs }: Cost) => serviceUs + postgresUs;

/** Of growth.json, at the most stations. */
const full = Object.fromEntries(Object.entries(growth.results).map(([what, levels]) => [what, levels.at(-1)!]));

test('the README tells the latest runs of the benchmark, on each Node', () => {
  const readme = textOf('README.md');
  expect(readme).toContain(`On ${node24.date}, on two cores (${node24.machine.replace('2 × ', '')})`);
  for (const [i, { name, results, ratios, others }] of node24.mixes.entries()) {
    const { service, fastify, conventional } = results;
    const on20 = node20.mixes[i]!;
    expect(on20.name).toBe(name);
    expect(readme).toContain(
      `| ${name} | ${whole(service.rps)} | ${whole(fastify.rps)} | ${whole(conventional.rps)} | ` +
        `${two(on20.ratios.fastify.rps)}, ${two(ratios.fastify.rps)} | ${two(on20.ratios.fastify.p50)}, ${two(ratios.fastify.p50)} | ` +
        `${['404', '409', 'a code issued'].map((what) => two(total(others[what as '404']) / total(service))).join(', ')} |`,
    );
  }
});

test('the README tells the latest run of the growth', () => {
  const ratio = (what: string) => full[what]!.ratio.toFixed(2);
  expect(textOf('README.md')).toContain(
    `On ${growth.date}, on two cores with 4 GB of shared buffers for 19 GB of data, 10⁷ stations cost, in CPU time of ` +
      `service and PostgreSQL, ${ratio('a pairing')} times what none do for a pairing, ${ratio('a refused code')} for a ` +
      `refused code, ${ratio('a code issued')} for a code issued and ${ratio('a page of 50 stations')} for a page of 50 stations.`,
  );
});

test('the page on capacity starts from the same run', () => {
  const capacity = textOf('docs/capacity.md');
  for (const row of [
    costs('the same, among ten million stations', full['a pairing']!),
    costs('a code issued', full['a code issued']!),
    costs('a page of 50 stations', full['a page of 50 stations']!),
    costs('the stations of one user', full['the stations of any user']!),
  ])
    expect(capacity).toContain(row);
});
