import { readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { problems } from '../../src/contract/problem-types';
import { anIncorrectCode, type Harness, startHarness } from '../harness/harness';
import { dashboards, expressions, type Matcher, rules, selectorsIn, seriesIn } from '../harness/prometheus';
import { untilSo } from '../harness/until';

/** Labels that Prometheus adds when it scrapes. */
const ADDED = new Set(['job', 'instance']);

const quoted = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, one = '']) => one);
/** The labels of each metric, and the values that its row in the guide names; other tests compare the rows with what is exported. */
const documented = new Map(
  [
    ...readFileSync(projectFile('docs/operations.md'), 'utf8').matchAll(
      /^\| `(scsp_\w+)` \| \w+ \| (.*?) \| (.+) \|$/gm,
    ),
  ].map(([, name = '', labels = '', meaning = '']) => [name, { labels: quoted(labels), values: quoted(meaning) }]),
);

let service: Harness;
/** The text of `/metrics`, the types of the metrics of the service by name, and the series that these have. */
let text = '';
let types = new Map<string, string>();
let series = new Map<string, string>();

beforeAll(async () => {
  service = await startHarness({ METRICS_PORT: '0' });
  // A histogram with labels has buckets from its first observation on.
  await service.pair(await service.cpo(), anIncorrectCode());
  await untilSo(async () => {
    text = await (await fetch(`${service.service.metricsUrl}/metrics`)).text();
    return text.includes('operation="pairOcpp"');
  });
  types = new Map([...text.matchAll(/^# TYPE (scsp_\w+) (\w+)$/gm)].map(([, name = '', type = '']) => [name, type]));
  series = new Map(
    [...types].flatMap(([name, type]) =>
      (type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']).map((suffix) => [name + suffix, name] as const),
    ),
  );
});
afterAll(() => service.stop());

/** The samples of a series, as the labels of each. */
const samplesOf = (name: string) =>
  [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? `, 'gm'))].map(
    ([, labels = '']) =>
      new Map([...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', value = '']) => [label, value])),
  );

test('every series of a rule and of a panel is exported, or recorded by a rule', () => {
  const recorded = new Set(rules.map(({ record }) => record));
  const missing = expressions.flatMap(({ where, expr }) =>
    seriesIn(expr)
      .filter((name) => !series.has(name) && !recorded.has(name))
      .map((name) => `${name}: ${where}`),
  );
  expect(missing).toEqual([]);
});

/** Whether a series can have this label with each of these values. Patterns and statuses have values of many kinds. */
function canHave(name: string, { label, value }: Matcher): boolean {
  if (label === 'le') return samplesOf(name).some((labels) => new RegExp(`^(${value})$`).test(labels.get('le') ?? ''));
  const { labels = [], values = [] } = documented.get(series.get(name) ?? '') ?? {};
  const literal = label === 'status' ? [] : value.split('|').filter((one) => /^[\w-]+$/.test(one));
  return labels.includes(label) && literal.every((one) => values.includes(one) || one in problems);
}

test('every label that a rule or panel selects by is one of the series, and every value and bucket can be there', () => {
  const wrong = expressions.flatMap(({ where, expr }) =>
    selectorsIn(expr)
      .filter(({ name }) => series.has(name))
      .flatMap(({ name, matchers }) =>
        matchers
          .filter((matcher) => !ADDED.has(matcher.label) && !canHave(name, matcher))
          .map(({ label, value }) => `${name}{${label}="${value}"}: ${where}`),
      ),
  );
  expect(wrong).toEqual([]);
});

test('every metric of the service is on a panel', () => {
  const shown = dashboards.flatMap(({ panels }) =>
    panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => seriesIn(expr))),
  );
  const onPanels = new Set(shown.map((name) => series.get(name)));
  expect([...types.keys()].filter((name) => !onPanels.has(name))).toEqual([]);
});

test('the names of series are found in an expression', () => {
  expect(
    seriesIn(
      'sum by (job) (rate(scsp_a_total{job="scsp_no"}[5m])) / on (job) job_slo:scsp_b:rate5m > scsp_c unless up',
    ),
  ).toEqual(['scsp_a_total', 'job_slo:scsp_b:rate5m', 'scsp_c']);
  expect(selectorsIn('scsp_a_bucket{le=~"5(\\\\.0)?", job!="x"} - job:scsp_b:sum{slo="y"}')).toEqual([
    {
      name: 'scsp_a_bucket',
      matchers: [
        { label: 'le', operator: '=~', value: '5(\\.0)?' },
        { label: 'job', operator: '!=', value: 'x' },
      ],
    },
  ]);
});
