import { readdirSync, readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { parseYaml } from './yaml';

const FOLDER = 'deploy/prometheus';
const read = (file: string) => readFileSync(projectFile(file), 'utf8');

type Rule = {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
};
export type Alert = Rule & { readonly alert: string };

/** A case of a promtool unit test: the alerts of one name that fire at a time. */
type AlertCase = {
  readonly eval_time: string;
  readonly alertname: string;
  readonly exp_alerts: readonly {
    readonly exp_labels: Readonly<Record<string, string>>;
    readonly exp_annotations: Readonly<Record<string, string>>;
  }[];
};
export type RuleTest = { readonly name: string; readonly file: string; readonly alert_rule_test: readonly AlertCase[] };

const groups: readonly { readonly rules: readonly Rule[] }[] = parseYaml(read(`${FOLDER}/rules.yaml`)).groups;
export const rules: readonly Rule[] = groups.flatMap((group) => group.rules);
export const alerts: readonly Alert[] = rules.flatMap((rule) =>
  rule.alert === undefined ? [] : [{ ...rule, alert: rule.alert }],
);

/** The unit tests of all files that promtool runs. */
export const ruleTests: readonly RuleTest[] = readdirSync(projectFile(FOLDER))
  .filter((file) => file.endsWith('.test.yaml'))
  .flatMap((file) => parseYaml(read(`${FOLDER}/${file}`)).tests.map((one: RuleTest) => ({ ...one, file })));

/** Returns the name of the runbook of an alert: `cpo-failing` for ScspCpoFailing. */
export const slugOf = (alert: string) =>
  alert
    .replace(/^Scsp/, '')
    .replace(/(?!^)[A-Z]/g, (letter) => `-${letter}`)
    .toLowerCase();

type Panel = {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string }[];
};
export const dashboards: readonly {
  readonly file: string;
  readonly json: Record<string, unknown>;
  readonly panels: readonly Panel[];
}[] = readdirSync(projectFile('deploy/grafana'))
  .filter((file) => file.endsWith('.json'))
  .map((file) => {
    const json = JSON.parse(read(`deploy/grafana/${file}`));
    return { file, json, panels: json.panels };
  });

/** Every PromQL expression with where it is. */
export const expressions: readonly { readonly where: string; readonly expr: string }[] = [
  ...rules.map(({ alert, record, expr }) => ({ where: `rule ${alert ?? record}`, expr })),
  ...dashboards.flatMap(({ file, panels }) =>
    panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => ({ where: `panel "${title}" of ${file}`, expr })),
    ),
  ),
];

/** Names of series of the service, and of recording rules (with a colon). */
const NAME = /(?<![\w:])(?:scsp_\w+|[a-z_]\w*(?::\w+)+)/g;

/** Returns the names of the series of the service and of recording rules in a PromQL expression. */
export function seriesIn(expr: string): string[] {
  return [...new Set(expr.replace(/"[^"]*"/g, '""').match(NAME) ?? [])];
}

export type Matcher = { readonly label: string; readonly operator: string; readonly value: string };

/** Returns the selectors of the service's series in a PromQL expression, with their matchers. */
export function selectorsIn(expr: string): { readonly name: string; readonly matchers: readonly Matcher[] }[] {
  return [...expr.matchAll(/(?<![\w:])(scsp_\w+)\{([^}]*)\}/g)].map(([, name = '', inner = '']) => ({
    name,
    matchers: [...inner.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*("[^"]*")/g)].map(
      ([, label = '', operator = '', value = '']) => ({
        label,
        operator,
        value: JSON.parse(value),
      }),
    ),
  }));
}
