/**
 * The house, from the top down: whoever is above may import from below, never the other way.
 * Type-only imports count too: a type from above ties a file to it just the same.
 */
const layers = [
  { name: 'main', path: '^src/(main\\.ts$|cli\\.ts$|cli/)' },
  { name: 'service', path: '^src/((service|model|demo)\\.ts$|retention/)' },
  { name: 'http', path: '^src/http/' },
  { name: 'pairing', path: '^src/(pairing|users)/' },
  { name: 'features', path: '^src/(codes|cpos|tokens|outbox)/' },
  { name: 'protocols', path: '^src/protocols/' },
  { name: 'stations', path: '^src/stations/' },
  { name: 'delivery', path: '^src/delivery/' },
  { name: 'db', path: '^src/db/' },
  {
    name: 'floor',
    path: '^src/(config|context|contract|contract\\.gen|events|json|log|page|problems|secrets|trace-context|waiting)\\.ts$|^src/contract/',
  },
];

const PROGRAMS = '^src/(main|cli)\\.ts$';
/** `context.ts` only names the types of what the composition root hands down. */
const CONTEXT = '^src/context\\.ts$';
/** The wire format of a station is written by the protocols: this file is an edge, not the rules. */
const STATION_EDGE = '^src/stations/http\\.ts$';
/** The other party: it knows this service by its contract only. */
const COUNTERPARTS = '^src/(sandbox|conformance)/';

const upward = layers.slice(1).map(({ name, path }, index) => ({
  name: `${name}-imports-nothing-from-above`,
  severity: 'error',
  from: { path, pathNot: [CONTEXT, STATION_EDGE] },
  to: { path: layers.slice(0, index + 1).map((layer) => layer.path) },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'context-imports-only-types',
      severity: 'error',
      from: { path: CONTEXT },
      to: { dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'station-edge-imports-nothing-above-the-protocols',
      severity: 'error',
      from: { path: STATION_EDGE },
      to: { path: layers.slice(0, 5).map((layer) => layer.path) },
    },
    {
      name: 'station-rules-import-nothing',
      severity: 'error',
      from: { path: '^src/stations/station\\.ts$' },
      to: {},
    },
    {
      name: 'features-do-not-import-each-other',
      comment: 'codes, cpos, tokens and outbox stand side by side; pairing composes them.',
      severity: 'error',
      from: { path: '^src/(codes|cpos|tokens|outbox)/' },
      to: { path: '^src/(codes|cpos|tokens|outbox)/', pathNot: '^src/$1/' },
    },
    {
      name: 'counterparts-know-only-the-contract',
      severity: 'error',
      from: { path: COUNTERPARTS },
      to: {
        path: '^src/',
        pathNot: ['^src/$1/', '^src/protocols/', '^src/contract/', '^src/(contract|contract\\.gen|log)\\.ts$'],
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
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
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
