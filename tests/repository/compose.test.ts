import { existsSync, readFileSync } from 'node:fs';
import { projectFile } from '../../src/contract/document';
import { GRACE_MS } from '../../src/http/server';
import { STOP_MS } from '../../src/outbox/deliver';
import { ENGINE_LIMITS } from '../../src/webhooks/deliver';
import { parseYaml } from '../harness/yaml';

const read = (file: string) => readFileSync(projectFile(file), 'utf8');
const { services, volumes } = parseYaml(read('docker-compose.yml'));
const prometheus = parseYaml(read('deploy/prometheus/prometheus.yml'));
const all = Object.entries<any>(services);

/** A version in full, and the digest that makes it immutable. */
const PINNED = /^[a-z0-9/]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?@sha256:[0-9a-f]{64}$/;

test('every image is pinned to a version and its digest', () => {
  const bases = [...read('Dockerfile').matchAll(/^FROM (\S+:\S+)/gm)].map(([, image]) => image);
  const images = all.flatMap(([, { image }]) => image ?? []);
  expect([bases.length, images.length]).toEqual([1, 3]);
  for (const image of [...bases, ...images]) expect(image).toMatch(PINNED);
});

test('ports are published on loopback only, and that of the metrics is not', () => {
  const published: string[] = all.flatMap(([, { ports }]) => ports ?? []);
  for (const port of published) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  expect(services.service.ports).toEqual(['127.0.0.1:3000:3000']);
});

test('Prometheus and Grafana start with the profile `observe`, and nothing else needs it', () => {
  expect(all.filter(([, { profiles }]) => profiles !== undefined).map(([name]) => name)).toEqual([
    'prometheus',
    'grafana',
  ]);
  for (const name of ['prometheus', 'grafana']) expect(services[name].profiles).toEqual(['observe']);
});

test('a stop of the service has time for requests in flight and for deliveries', () => {
  const [, seconds] = /^(\d+)s$/.exec(services.service.stop_grace_period) ?? [];
  expect(Number(seconds) * 1_000).toBeGreaterThan(GRACE_MS + STOP_MS + ENGINE_LIMITS.stopMs);
});

test('what is mounted is in the repository, or a volume that is declared', () => {
  for (const mount of all.flatMap(([, service]) => service.volumes ?? [])) {
    const [source] = mount.split(':');
    if (source.startsWith('./')) expect([source, existsSync(projectFile(source))]).toEqual([source, true]);
    else expect(volumes).toHaveProperty(source);
  }
});

test('Prometheus reads the metrics of the service and the alerts', () => {
  const { METRICS_PORT } = services.service.environment;
  const targets = prometheus.scrape_configs.flatMap(({ static_configs }: any) => static_configs[0].targets);
  expect(targets).toEqual([`service:${METRICS_PORT}`]);
  expect(prometheus.rule_files).toEqual(['rules.yaml']);
});

test('Grafana has Prometheus as its data source, and shows the dashboards that are mounted', () => {
  const provisioned = (file: string) => parseYaml(read(`deploy/grafana/provisioning/${file}`));
  const [source] = provisioned('datasources/prometheus.yaml').datasources;
  expect(source).toMatchObject({ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true });
  const [provider] = provisioned('dashboards/scsp-pairing.yaml').providers;
  expect(services.grafana.volumes).toContain(`./deploy/grafana:${provider.options.path}:ro`);
});
