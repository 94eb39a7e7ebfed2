import Ajv from 'ajv';
import type { Deployment } from 'kubernetes-types/apps/v1';
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2';
import type { Job } from 'kubernetes-types/batch/v1';
import type { Namespace, Secret, Service, ServiceAccount } from 'kubernetes-types/core/v1';
import type { LabelSelector, ObjectMeta } from 'kubernetes-types/meta/v1';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1';
import { createGenerator } from 'ts-json-schema-generator';

/**
 * The kinds of the Prometheus operator (https://prometheus-operator.dev/docs/api-reference/api/), with the fields that are used
 * here: `kubernetes-types` does not have them.
 */
type OfOperator<Kind extends string, Spec> = {
  apiVersion: 'monitoring.coreos.com/v1';
  kind: Kind;
  metadata: ObjectMeta;
  spec: Spec;
};
type ServiceMonitorSpec = {
  jobLabel?: string;
  selector: LabelSelector;
  endpoints: { port: string; path?: string; interval?: string; scrapeTimeout?: string }[];
};
type Rule = {
  alert?: string;
  record?: string;
  expr: string | number;
  for?: string;
  keep_firing_for?: string;
  labels?: { [name: string]: string };
  annotations?: { [name: string]: string };
};
type PrometheusRuleSpec = {
  groups: { name: string; interval?: string; labels?: { [name: string]: string }; rules: Rule[] }[];
};

/** Every kind that may be deployed, under its version and name; the types are made from Kubernetes' OpenAPI document. */
export type Kinds = {
  'apps/v1 Deployment'?: Deployment;
  'autoscaling/v2 HorizontalPodAutoscaler'?: HorizontalPodAutoscaler;
  'batch/v1 Job'?: Job;
  'monitoring.coreos.com/v1 PrometheusRule'?: OfOperator<'PrometheusRule', PrometheusRuleSpec>;
  'monitoring.coreos.com/v1 ServiceMonitor'?: OfOperator<'ServiceMonitor', ServiceMonitorSpec>;
  'networking.k8s.io/v1 NetworkPolicy'?: NetworkPolicy;
  'policy/v1 PodDisruptionBudget'?: PodDisruptionBudget;
  'v1 Namespace'?: Namespace;
  'v1 Secret'?: Secret;
  'v1 Service'?: Service;
  'v1 ServiceAccount'?: ServiceAccount;
};

function schemaOfKinds() {
  const schema = createGenerator({
    path: __filename,
    type: 'Kinds',
    skipTypeCheck: true,
    jsDoc: 'none',
  }).createSchema('Kinds');
  // TypeScript has one type of number, and knows a quantity as a text.
  const text = JSON.stringify(schema).replaceAll('"type":"number"', '"type":"integer"');
  const strict = JSON.parse(text);
  strict.definitions.Quantity.pattern = '^\\d+(\\.\\d+)?(m|[kMGTPE]|[KMGTPE]i)?$';
  return strict;
}

const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schemaOfKinds());

/** What Kubernetes would not take of a manifest, or would silently ignore: a line for each fault. */
export function faultsOf(manifest: { apiVersion?: unknown; kind?: unknown }): string[] {
  const kind = `${manifest.apiVersion} ${manifest.kind}`;
  if (validate({ [kind]: manifest })) return [];
  return (validate.errors ?? []).map(({ instancePath, message, params }) => {
    const place = instancePath.replace(`/${kind.replaceAll('/', '~1')}`, '');
    return `${place} ${message}${'additionalProperty' in params ? `: ${params.additionalProperty}` : ''}`;
  });
}
