import { readFileSync } from 'node:fs';
import growth from '../bench/results/growth.json';
import latest from '../bench/results/latest.json';
import { projectFile } from '../src/contract';

const textOf = (file: string) => readFileSync(projectFile(file), 'utf8').replace(/\s+/g, ' ');
const whole = (value: number) => Math.round(value).toLocaleString('en');
const ms = (value: number) => (value < 10 ? value.toFixed(1) : whole(value));

type Cost = { serviceUs: number; postgresUs: number };
type Speed = Cost & { rps: number; p50: number; p99: number };

/** Without a web server there is PostgreSQL alone. */
const rowOf = ({ rps, p50, p99, serviceUs, postgresUs }: Speed) =>
  `| ${whole(rps)} | ${ms(p50)}, ${whole(p99)} | ${serviceUs > 0 ? `${whole(serviceUs)} + ` : ''}${whole(postgresUs)} |`;
const costs = (what: string, { serviceUs, postgresUs }: Cost) =>
  `| ${what} | ${whole(serviceUs)} | ${whole(postgresUs)} |`;

const { service } = latest.results;
/** Of growth.json, at the most stations. */
const full = Object.fromEntries(Object.entries(growth.results).map(([what, levels]) => [what, levels.at(-1)!]));

test('the README tells the latest run of the benchmark and of the growth', () => {
  const readme = textOf('README.md');
  expect(readme).toContain(
    `On ${latest.date}, on two cores (${latest.machine.replace('2 × ', '')}) that load, service`,
  );
  for (const speed of Object.values(latest.results)) expect(readme).toContain(rowOf(speed));
  const ratio = (what: string) => full[what]!.ratio.toFixed(2);
  expect(readme).toContain(
    `On ${growth.date}, on two cores with 4 GB of shared buffers for 19 GB of data, 10⁷ stations cost, in CPU time of ` +
      `service and PostgreSQL, ${ratio('a pairing')} times what none do for a pairing, ${ratio('a refused code')} for a ` +
      `refused code, ${ratio('a code issued')} for a code issued and ${ratio('a page of 50 stations')} for a page of 50 stations.`,
  );
});

test('the pages on capacity and on what comes beyond it start from the same runs', () => {
  const capacity = textOf('docs/capacity.md');
  for (const row of [
    costs('a pairing, 32 callers at once', service),
    costs('the same, among ten million stations', full['a pairing']!),
    costs('a pairing, at half of saturation: smaller sets share a commit', latest.half.service),
    costs('an incorrect code (404)', latest.refusals[404]),
    costs('a uid that is taken (409)', latest.refusals[409]),
    costs('a request that breaks the contract (400)', latest.refusals[400]),
    costs('a bad token (401)', latest.refusals[401]),
    costs('a code issued', full['a code issued']!),
    costs('a page of 50 stations', full['a page of 50 stations']!),
    costs('the stations of one user', full['the stations of any user']!),
  ])
    expect(capacity).toContain(row);
  expect(textOf('docs/beyond-one-primary.md')).toContain(`| ${whole(service.rps)} pairings |`);
});
