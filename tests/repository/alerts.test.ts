import { readdirSync, readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { type Alert, alerts, dashboards, ruleTests, slugOf } from '../harness/prometheus';

const FOLDER = 'docs/runbooks';
const pages = readdirSync(projectFile(FOLDER)).filter((file) => file.endsWith('.md') && file !== 'README.md');
const page = (name: string) => readFileSync(projectFile(`${FOLDER}/${name}`), 'utf8');
const index = page('README.md');
const labelled = alerts.map((alert) => [`${alert.alert} (${alert.labels?.severity})`, alert] as const);

/** The cases about an alert that name it as firing, and those that do not. */
function casesOf({ alert, labels }: Alert) {
  const cases = ruleTests
    .flatMap(({ alert_rule_test }) => alert_rule_test)
    .filter(({ alertname }) => alertname === alert);
  const fires = ({ exp_alerts }: (typeof cases)[number]) =>
    exp_alerts.some(({ exp_labels }) => exp_labels.severity === labels?.severity);
  return { firing: cases.filter(fires), quiet: cases.filter((one) => !fires(one)) };
}

describe('the alerts', () => {
  test('are at least twelve, each name with one rule for each severity', () => {
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBeGreaterThanOrEqual(12);
    expect(new Set(labelled.map(([name]) => name)).size).toBe(alerts.length);
  });

  test.each(labelled)('%s has a severity, texts and a runbook', (_, { alert, labels, annotations }) => {
    expect(alert).toMatch(/^Scsp([A-Z][a-z]+)+$/);
    expect(labels?.severity).toMatch(/^(page|ticket)$/);
    expect(Object.keys(annotations ?? {})).toEqual(['summary', 'description', 'runbook']);
    for (const text of Object.values(annotations ?? {})) expect(text).toMatch(/\S/);
    expect(annotations?.runbook).toBe(`${FOLDER}/${slugOf(alert)}.md`);
  });

  test.each(labelled)('%s is shown to fire with its annotations, and to stay quiet', (_, alert) => {
    const { firing, quiet } = casesOf(alert);
    expect(firing.length).toBeGreaterThan(0);
    expect(quiet.length).toBeGreaterThan(0);
    for (const { exp_alerts } of firing)
      for (const { exp_annotations } of exp_alerts)
        expect(Object.keys(exp_annotations)).toEqual(['summary', 'description', 'runbook']);
  });

  test.each(labelled)('%s has one test that is named after each', (_, { alert, labels }) => {
    const several = alerts.filter((other) => other.alert === alert).length > 1;
    const name = several ? `${alert} (${labels?.severity})` : alert;
    const names = ruleTests.map((one) => one.name).filter((one) => one.startsWith(`${name} `));
    expect(names.join('\n')).toMatch(/\bfires\b/);
    expect(names.join('\n')).toMatch(/\bstays quiet\b/);
  });

  test('that tests name exist', () => {
    const known = new Set(alerts.map(({ alert }) => alert));
    const named = ruleTests.flatMap(({ alert_rule_test }) => alert_rule_test.map(({ alertname }) => alertname));
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });
});

describe('the runbooks', () => {
  test('are one for each alert, in the index in one line each', () => {
    const slugs = [...new Set(alerts.map(({ alert }) => slugOf(alert)))].sort();
    expect(pages.map((name) => name.replace(/\.md$/, '')).sort()).toEqual(slugs);
    const linked = [...index.matchAll(/^\| \[([\w-]+)\]\(([\w-]+)\.md\) \|/gm)];
    expect(linked.map(([, name]) => name).sort()).toEqual(slugs);
    expect(linked.filter(([, name, file]) => name !== file)).toEqual([]);
  });

  test.each(alerts.map(({ alert, labels }) => [slugOf(alert), labels?.severity ?? ''] as const))(
    'the index names the severity of %s: %s',
    (slug, severity) =>
      expect(index).toMatch(new RegExp(`^\\| \\[${slug}\\]\\(.*\\| [^|]*\\b${severity}\\b[^|]*\\|`, 'm')),
  );

  test.each(pages)('%s says what it means, where to look, what to do and when it is over', (name) => {
    const text = page(name);
    const alert = alerts.find((one) => `${slugOf(one.alert)}.md` === name)?.alert;
    expect(text).toMatch(new RegExp(`^# ${name.replace(/\.md$/, '')}\n\n.*\`${alert}\``));
    const sections = [...text.matchAll(/^## (.*)$/gm)].map(([, title]) => title);
    expect(sections).toEqual(['What it means', 'Look', 'Do', 'When it is over']);
    expect(/^## Look\n[\s\S]*?^```(sh|promql|sql)\n/m.test(text)).toBe(true);
  });
});

describe('the dashboards', () => {
  test.each(dashboards)(
    '$file is one that Grafana shows: panels with ids, places and a data source',
    ({ json, panels }) => {
      expect(json).toMatchObject({
        schemaVersion: expect.any(Number),
        title: expect.any(String),
        uid: expect.any(String),
      });
      const ids = panels.map((panel) => Object(panel).id);
      expect(new Set(ids).size).toBe(panels.length);
      for (const panel of panels.filter(({ type }) => type !== 'row'))
        expect(panel).toMatchObject({
          datasource: { type: 'prometheus', uid: `\${datasource}` },
          gridPos: { x: expect.any(Number), y: expect.any(Number), w: expect.any(Number), h: expect.any(Number) },
          targets: expect.arrayContaining([{ ...panel.targets?.[0] }]),
        });
    },
  );

  test('ask for one deployment only', () => {
    const asked = dashboards.flatMap(({ panels }) => panels.flatMap(({ targets = [] }) => targets));
    expect(asked.length).toBeGreaterThan(0);
    expect(
      asked.filter(({ expr }) => [...expr.matchAll(/\{/g)].length !== [...expr.matchAll(/\{job="\$job"/g)].length),
    ).toEqual([]);
  });
});
