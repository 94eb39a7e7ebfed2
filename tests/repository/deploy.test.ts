import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { BlockList, isIPv6 } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ipaddr from 'ipaddr.js';
import { settings } from '../../src/config';
import { projectFile, readContract } from '../../src/contract/document';
import { GRACE_MS } from '../../src/http/server';
import { mayCall } from '../../src/outbound/address';
import { STOP_MS as OUTBOX_MS } from '../../src/outbox/deliver';
import { CONNECTIONS } from '../../src/service';
import { ENGINE_LIMITS } from '../../src/webhooks/deliver';
import { faultsOf } from '../harness/kubernetes-schema';
import { parseAllYaml, parseYaml } from '../harness/yaml';

const FOLDER = projectFile('deploy/kubernetes');
const KUSTOMIZATION = 'kustomization.yaml';
const TEMPLATE = 'secret.example.yaml';

const OPERATOR = 'prometheus-operator';

const read = (file: string) => readFileSync(join(FOLDER, file), 'utf8');
const manifestsIn = (folder: string) =>
  readdirSync(join(FOLDER, folder)).filter((file) => file.endsWith('.yaml') && file !== KUSTOMIZATION);
const files = manifestsIn('.');
const manifests: any[] = [...files, ...manifestsIn(OPERATOR).map((file) => join(OPERATOR, file))].flatMap((file) =>
  parseAllYaml(read(file)),
);
const named = (kind: string, name = 'scsp-pairing') =>
  manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);

const kustomization = parseYaml(read(KUSTOMIZATION));
const prometheus = parseYaml(readFileSync(projectFile('deploy/prometheus/prometheus.yml'), 'utf8'));
const deployment = named('Deployment');
const job = named('Job', 'scsp-pairing-migration');
const autoscaler = named('HorizontalPodAutoscaler').spec;
const pods = [deployment.spec.template, job.spec.template];
const [service] = deployment.spec.template.spec.containers;
const containers = pods.flatMap((pod) => pod.spec.containers);

type Range = [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number];

/** What the service tells special addresses by. */
const SPECIAL = [ipaddr.IPv4, ipaddr.IPv6].flatMap(({ prototype }: any) =>
  Object.values<any>(prototype.SpecialRanges).flatMap((ranges): Range[] =>
    Array.isArray(ranges[0]) ? ranges : [ranges],
  ),
);

/** The first and the last address of a range, and those beside it. */
function edgesOf([address, bits]: Range): string[] {
  const bytes = address.toByteArray();
  const first = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  const after = first + 2n ** BigInt(bytes.length * 8 - bits);
  return [first - 1n, first, after - 1n, after]
    .filter((edge) => edge >= 0 && edge < 2n ** BigInt(bytes.length * 8))
    .map((edge) => Buffer.from(edge.toString(16).padStart(bytes.length * 2, '0'), 'hex'))
    .map((edge) => ipaddr.fromByteArray([...edge]).toString());
}

/** A copy of the Deployment with one thing changed. */
function changed(change: (copy: any) => void) {
  const copy = structuredClone(deployment);
  change(copy);
  return copy;
}

describe('against the schema of Kubernetes', () => {
  test.each(manifests.map((manifest) => [manifest.kind, manifest.metadata.name, manifest]))(
    '%s %s is right',
    (_kind, _name, manifest) => expect(faultsOf(manifest)).toEqual([]),
  );

  test('a misspelt field is found', () => {
    const bad = changed(({ spec }) => {
      spec.template.spec.containers[0].readynessProbe = spec.template.spec.containers[0].readinessProbe;
    });
    expect(faultsOf(bad)).toEqual([
      '/spec/template/spec/containers/0 must NOT have additional properties: readynessProbe',
    ]);
  });

  test.each([
    ['a text for a number', '/spec/minReadySeconds must be integer', ({ spec }: any) => (spec.minReadySeconds = '5')],
    ['half a replica', '/spec/replicas must be integer', ({ spec }: any) => (spec.replicas = 1.5)],
    [
      'a number for the value of a variable',
      '/spec/template/spec/containers/0/env/0/value must be string',
      ({ spec }: any) => (spec.template.spec.containers[0].env[0].value = 3000),
    ],
    [
      'a quantity in no unit',
      '/spec/template/spec/containers/0/resources/limits/memory must match pattern',
      ({ spec }: any) => (spec.template.spec.containers[0].resources.limits.memory = '512MB'),
    ],
    [
      'a list for an object',
      '/spec/selector/matchLabels must be object',
      ({ spec }: any) => (spec.selector.matchLabels = []),
    ],
  ])('a wrong type is found: %s', (_what, fault, change) =>
    expect(faultsOf(changed(change))).toEqual([expect.stringContaining(fault)]),
  );

  test.each([
    ['selector', '/spec', ({ spec }: any) => spec],
    ['template', '/spec', ({ spec }: any) => spec],
    ['name', '/spec/template/spec/containers/0', ({ spec }: any) => spec.template.spec.containers[0]],
  ])('a missing field is found: %s', (field, place, object) =>
    expect(faultsOf(changed((copy) => delete object(copy)[field]))).toEqual([
      `${place} must have required property '${field}'`,
    ]),
  );

  test.each([{ apiVersion: 'apps/v2' }, { kind: 'Deploymnt' }, { apiVersion: undefined }])(
    'what no server knows is found: %j',
    (wrong) => expect(faultsOf({ ...deployment, ...wrong })).toHaveLength(1),
  );
});

describe('what no schema can say', () => {
  test('everything but the template of the secrets is deployed, in one namespace', () => {
    expect([...kustomization.resources].sort()).toEqual(files.filter((file) => file !== TEMPLATE).sort());
    const namespaces = manifests.filter(({ kind }) => kind !== 'Namespace').map(({ metadata }) => metadata.namespace);
    expect(new Set([...namespaces, kustomization.namespace])).toEqual(new Set(['scsp-pairing']));
    expect(named('Namespace').metadata.labels).toMatchObject({ 'pod-security.kubernetes.io/enforce': 'restricted' });
  });

  test('what needs the operator of Prometheus is in a component, which is left out unless somebody asks for it', () => {
    const component = parseYaml(read(join(OPERATOR, KUSTOMIZATION)));
    expect(component.kind).toBe('Component');
    expect([...component.resources].sort()).toEqual(manifestsIn(OPERATOR));
    expect(kustomization).not.toHaveProperty('components');
    expect(parseYaml(read(KUSTOMIZATION).replace(/^# (components:| {2}- )/gm, '$1')).components).toEqual([OPERATOR]);
  });

  test('every variable is a setting, and every secret that one comes from is in the template', () => {
    const secrets = manifests.filter(({ kind }) => kind === 'Secret');
    for (const { stringData } of secrets)
      expect(Object.keys(settings)).toEqual(expect.arrayContaining(Object.keys(stringData)));
    for (const { name, valueFrom } of containers.flatMap(({ env }) => env)) {
      expect(Object.keys(settings)).toContain(name);
      if (valueFrom === undefined || valueFrom.secretKeyRef.optional) continue;
      expect(named('Secret', valueFrom.secretKeyRef.name).stringData).toHaveProperty(valueFrom.secretKeyRef.key);
    }
  });

  test('the template holds no secret', () => {
    for (const { stringData } of manifests.filter(({ kind }) => kind === 'Secret'))
      for (const value of Object.values(stringData)) expect(value).toMatch(/\bREPLACE\b/);
  });

  test('the service has neither the password of the owner nor, the migration, the secret key', () => {
    const given = (container: any) => container.env.map(({ name }: { name: string }) => name);
    expect(given(service)).not.toContain('MIGRATION_DATABASE_URL');
    expect(given(job.spec.template.spec.containers[0])).not.toContain('SECRET_KEY');
  });

  test('the service and its migration are one image, of this version', () => {
    const { version } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));
    expect(new Set(containers.map(({ image }) => image))).toEqual(new Set([kustomization.images[0].name]));
    expect(kustomization.images).toEqual([expect.objectContaining({ newTag: version })]);
  });

  test('the ports are those that the service listens on', () => {
    const ports = Object.fromEntries(
      service.ports.map(({ name, containerPort }: any) => [name, String(containerPort)]),
    );
    const set = (name: string) => service.env.find((variable: any) => variable.name === name).value;
    expect(ports).toEqual({ http: set('PORT'), metrics: set('METRICS_PORT') });
    expect(deployment.spec.template.metadata.annotations['prometheus.io/port']).toBe(ports.metrics);
    expect(readFileSync(projectFile('Dockerfile'), 'utf8')).toContain(`EXPOSE ${ports.http}\n`);
  });

  test('the Service leads to the service alone, not to its metrics', () =>
    expect(named('Service').spec.ports).toEqual([expect.objectContaining({ targetPort: 'http' })]));

  test('the ServiceMonitor leads Prometheus to the metrics port of each replica', () => {
    const monitor = named('ServiceMonitor').spec;
    const { metadata, spec } = named('Service', 'scsp-pairing-metrics');
    expect(metadata.labels).toMatchObject(monitor.selector.matchLabels);
    expect(named('Service').metadata.labels).not.toMatchObject(monitor.selector.matchLabels);
    expect(spec.selector).toEqual(deployment.spec.template.metadata.labels);
    const { containerPort } = service.ports.find(({ name }: any) => name === 'metrics');
    expect(spec.ports).toEqual([{ name: 'metrics', port: containerPort, targetPort: 'metrics' }]);
    expect(monitor.endpoints.map(({ port }: any) => port)).toEqual(['metrics']);
    expect(metadata.labels[monitor.jobLabel]).toBe(prometheus.scrape_configs[0].job_name);
  });

  test('the command of the README makes a PrometheusRule of the alerts', () => {
    const cwd = mkdtempSync(join(tmpdir(), 'scsp-rules-'));
    mkdirSync(join(cwd, 'deploy/prometheus'), { recursive: true });
    const rules =
      'groups:\n  - name: one\n    rules:\n      - alert: ScspOne\n        expr: |\n          up\n            == 0\n';
    writeFileSync(join(cwd, 'deploy/prometheus/rules.yaml'), rules);
    const [, command = ''] = /^```sh\n(\{\n[\s\S]*?)^```/m.exec(read('README.md')) ?? [];
    const rule = parseYaml(String(execFileSync('bash', ['-c', `kubectl() { cat; }\n${command}`], { cwd })));
    rmSync(cwd, { recursive: true });
    expect(rule).toMatchObject({ kind: 'PrometheusRule', spec: parseYaml(rules) });
    expect(faultsOf(rule)).toEqual([]);
  });

  test.each(['startup', 'readiness', 'liveness'])('the %s probe asks what is in the contract', (probe) => {
    const { path, port } = service[`${probe}Probe`].httpGet;
    expect(readContract().document.paths).toHaveProperty([path, 'get']);
    expect({ path, port }).toEqual({ path: probe === 'readiness' ? '/ready' : '/live', port: 'http' });
  });

  test('every selector of pods selects these and no others', () => {
    const labels = deployment.spec.template.metadata.labels;
    expect(named('Service').spec.selector).toEqual(labels);
    expect(job.spec.template.metadata.labels).not.toMatchObject(labels);
    const { topologySpreadConstraints } = deployment.spec.template.spec;
    const selectors = [
      deployment.spec.selector,
      named('PodDisruptionBudget').spec.selector,
      named('NetworkPolicy').spec.podSelector,
    ];
    for (const selector of [...selectors, ...topologySpreadConstraints.map((spread: any) => spread.labelSelector)])
      expect(selector).toEqual({ matchLabels: labels });
    const database = named('NetworkPolicy', 'scsp-pairing-database').spec.podSelector.matchLabels;
    for (const pod of pods) expect(pod.metadata.labels).toMatchObject(database);
  });

  test('the autoscaler scales the Deployment, which leaves the number to it', () => {
    const { apiVersion, kind, metadata } = deployment;
    expect(autoscaler.scaleTargetRef).toEqual({ apiVersion, kind, name: metadata.name });
    expect(deployment.spec).not.toHaveProperty('replicas');
  });

  test('a node can be drained while the fewest replicas run', () =>
    expect(autoscaler.minReplicas).toBeGreaterThan(named('PodDisruptionBudget').spec.minAvailable));

  test('a roll-out takes no replica away before a new one is ready', () =>
    expect(deployment.spec.strategy.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 }));

  test('a stop has time for load balancers to notice, for requests in flight and for deliveries', () => {
    const { terminationGracePeriodSeconds } = deployment.spec.template.spec;
    const stop = service.lifecycle.preStop.sleep.seconds + (GRACE_MS + OUTBOX_MS + ENGINE_LIMITS.stopMs) / 1_000;
    expect(terminationGracePeriodSeconds).toBeGreaterThan(stop);
  });

  test('the most replicas fit into the connections that PostgreSQL has by default', () => {
    const perReplica = CONNECTIONS + 1;
    const free = 100 - 3;
    const most = autoscaler.maxReplicas + deployment.spec.strategy.rollingUpdate.maxSurge;
    expect(most * perReplica).toBeLessThan(free);
  });

  test('no container may do more than it needs', () => {
    for (const pod of pods) {
      expect(pod.spec).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      });
      expect(pod.spec.serviceAccountName).toBe(named('ServiceAccount').metadata.name);
    }
    for (const { securityContext, resources, volumeMounts } of containers) {
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(Object.keys({ ...resources.requests, ...resources.limits })).toEqual(['cpu', 'memory']);
      expect(volumeMounts).toEqual([{ name: 'tmp', mountPath: '/tmp' }]);
    }
  });
});

describe('the network', () => {
  const { ingress, egress } = named('NetworkPolicy').spec;
  const { egress: toDatabase } = named('NetworkPolicy', 'scsp-pairing-database').spec;

  test('is closed but for what is opened', () =>
    expect(named('NetworkPolicy', 'default-deny').spec).toEqual({
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
    }));

  test('lets each port be reached from one namespace', () => {
    expect(ingress.map(({ ports }: any) => ports.map(({ port }: any) => port))).toEqual([['http'], ['metrics']]);
    for (const { from } of ingress) expect(from).toEqual([{ namespaceSelector: expect.anything() }]);
  });

  test('leads to the database at the port that the template of the secrets has', () => {
    for (const { stringData } of manifests.filter(({ kind }) => kind === 'Secret'))
      for (const [name, url] of Object.entries<string>(stringData))
        if (name.endsWith('DATABASE_URL'))
          expect(toDatabase[1].ports).toEqual([{ protocol: 'TCP', port: Number(new URL(url).port) }]);
  });

  test('leads to the addresses that the service itself would call, and to no others', () => {
    const [{ to, ports }] = egress;
    expect(ports).toEqual([{ protocol: 'TCP', port: 443 }]);
    const allowed = new BlockList();
    const refused = new BlockList();
    const add = (list: BlockList, cidr: string) => {
      const [address = '', bits] = cidr.split('/');
      list.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4');
    };
    for (const { ipBlock } of to) {
      add(allowed, ipBlock.cidr);
      for (const except of ipBlock.except) add(refused, except);
    }
    const excepted = to.flatMap(({ ipBlock }: any) => ipBlock.except).map((cidr: string) => ipaddr.parseCIDR(cidr));
    for (const address of [...SPECIAL, ...excepted].flatMap(edgesOf)) {
      const family = isIPv6(address) ? 'ipv6' : 'ipv4';
      const led = allowed.check(address, family) && !refused.check(address, family);
      // Of IPv6 the policy opens the global addresses alone.
      const expected = mayCall(address, false) && (family === 'ipv4' || /^[23]/.test(address));
      expect({ address, led }).toEqual({ address, led: expected });
    }
  });
});
