import { Counter, type Registry } from 'prom-client';

/** The number of CPOs with a `cpo` label of their own. CPOs that are seen later share the label `other`. */
const CPO_LABELS = 100;

export type CpoLabel = (cpoId: string) => string;

/** Creates the function that returns the label of a CPO. All metrics of a process share one, so that a CPO has the same label in each. */
export function createCpoLabel(): CpoLabel {
  const labelled = new Set<string>();
  return (cpoId) => {
    if (labelled.size < CPO_LABELS) labelled.add(cpoId);
    return labelled.has(cpoId) ? cpoId : 'other';
  };
}

/**
 * Creates a counter with one label, whose values are known. Each series begins at 0: to Prometheus a series that begins at 1 has not
 * increased.
 */
export function counterOf<Label extends string>(
  registry: Registry,
  name: string,
  help: string,
  label: Label,
  values: readonly string[],
): Counter<Label> {
  const counter = new Counter({ name, help, labelNames: [label], registers: [registry] });
  for (const value of values) counter.labels(value).inc(0);
  return counter;
}
