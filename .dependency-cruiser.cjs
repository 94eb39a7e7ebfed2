/**
 * The layers, from the top down: a file imports from its own layer and from lower ones, never from a higher one.
 * Type-only imports count too: a type from above ties a file to it just the same.
 */
const layers = [
  { name: 'programs', path: '^src/((main|cli)\\.ts$|cli/)' },
  { name: 'service', path: '^src/(service\\.ts$|sandbox/start\\.ts$)' },
  {
    name: 'sandbox',
    path: '^src/sandbox/(?!(start|test-codes|cpo|scenarios|behaviour|reply|stations|mutants)\\.ts$|mutants/)',
  },
  { name: 'http', path: '^src/(http|site)/|^src/[^/]+/http\\.ts$' },
  { name: 'conformance', path: '^src/conformance/' },
  { name: 'pairing', path: '^src/(pairing|users|attempts|retention|status|cases)/' },
  { name: 'features', path: '^src/(codes|cpos|tokens|outbox|links|webhooks)/' },
  { name: 'events', path: '^src/(events|calls)/' },
  { name: 'audit', path: '^src/audit/' },
  { name: 'protocols', path: '^src/protocols/' },
  { name: 'stations', path: '^src/stations/' },
  { name: 'context', path: '^src/context\\.ts$' },
  { name: 'db', path: '^src/(db|delivery|outbound|embedded-postgres)/' },
  { name: 'crypto', path: '^src/crypto/' },
  {
    name: 'foundation',
    path: '^src/(config|config-values|log|problems)\\.ts$|^src/(contract|metrics)/|^src/sandbox/test-codes\\.ts$',
  },
];

const PROGRAMS = '^src/(main|cli)\\.ts$';
/** Where a feature meets HTTP: it belongs to the layer `http`, not to that of its folder. */
const HTTP_FILE = '^src/[^/]+/http\\.ts$';
/** The other party's programs: they know this service by its contract only. */
const COUNTERPARTS = '^src/(sandbox)/((cpo|scenarios|behaviour|reply|stations|mutants)\\.ts$|mutants/)';

const upward = layers.slice(1).map(({ name, path }, index) => ({
  name: `${name}-imports-nothing-from-above`,
  severity: 'error',
  from: { path, ...(name !== 'http' && { pathNot: HTTP_FILE }) },
  to: { path: layers.slice(0, index + 1).map((layer) => layer.path) },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'station-rules-import-nothing',
      severity: 'error',
      from: { path: '^src/stations/station\\.ts$' },
      to: {},
    },
    {
      name: 'embedded-postgres-knows-nothing-of-the-service',
      severity: 'error',
      from: { path: '^src/embedded-postgres/' },
      to: { path: '^src/', pathNot: '^src/embedded-postgres/' },
    },
    {
      name: 'features-do-not-import-each-other',
      comment: 'The features stand side by side; pairing composes them.',
      severity: 'error',
      from: { path: '^src/(codes|cpos|tokens|outbox|links|webhooks)/', pathNot: HTTP_FILE },
      to: { path: '^src/(codes|cpos|tokens|outbox|links|webhooks)/', pathNot: '^src/$1/' },
    },
    {
      name: 'counterparts-know-only-the-contract',
      severity: 'error',
      from: { path: COUNTERPARTS },
      to: {
        path: '^src/',
        pathNot: [COUNTERPARTS, '^src/sandbox/test-codes\\.ts$', '^src/protocols/', '^src/contract/', '^src/log\\.ts$'],
      },
    },
    {
      name: 'nothing-below-the-top-imports-a-counterpart',
      severity: 'error',
      from: { path: '^src/', pathNot: [layers[0].path, layers[1].path, COUNTERPARTS] },
      to: { path: COUNTERPARTS },
    },
    {
      name: 'every-file-has-its-place',
      comment: 'A new file or folder belongs to a layer above, or the layers change first.',
      severity: 'error',
      from: { path: '^(src|migrations)/' },
      to: {
        path: '^(src|tests|bench|migrations)/',
        pathNot: [...layers.map((layer) => layer.path), COUNTERPARTS, '^migrations/'],
      },
    },
    {
      name: 'every-file-is-used',
      severity: 'error',
      from: { path: PROGRAMS },
      to: { path: '^src/.*\\.ts$', pathNot: [PROGRAMS, '\\.d\\.ts$'], reachable: false },
    },
    {
      name: 'migrations-stand-alone',
      comment: 'A landed migration must not change with the code.',
      severity: 'error',
      from: { path: '^migrations/' },
      to: { path: '^src/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'only-production-dependencies',
      comment: 'The container image holds nothing else; types alone are gone when it is built.',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-optional', 'npm-no-pkg', 'npm-unknown'],
        dependencyTypesNot: ['type-only'],
      },
    },
    { name: 'imports-resolve', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['require', 'node', 'default', 'types'] },
  },
};
