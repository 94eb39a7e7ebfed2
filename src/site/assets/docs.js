/* Makes /docs of /openapi.json, in the browser. */
const METHODS = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options', 'trace'];

const dark = matchMedia('(prefers-color-scheme: dark)');
const paint = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', paint);
paint();

/** Swagger UI 5.35 does not follow a reference among the parameters of a path: its operations get them. */
function lowered({ parameters = [], ...item }) {
  const lower = ([key, operation]) =>
    METHODS.includes(key)
      ? [key, { ...operation, parameters: [...parameters, ...(operation.parameters ?? [])] }]
      : [key, operation];
  return Object.fromEntries(Object.entries(item).map(lower));
}

/** What a CPO serves is there to be read: the page can send nothing to a CPO, and asks for no token of its. */
function onlyOurs({ paths }) {
  const ours = (operation) => operation !== undefined && operation['x-served-by'] !== 'cpo';
  const served = Object.values(paths).flatMap((item) => METHODS.map((method) => item[method]).filter(ours));
  const schemes = new Set(served.flatMap(({ security = [] }) => security.flatMap(Object.keys)));
  return {
    statePlugins: {
      spec: { wrapSelectors: { allowTryItOutFor: () => (_state, path, method) => ours(paths[path]?.[method]) } },
      auth: {
        wrapSelectors: {
          definitionsToAuthorize: (original) => (state) =>
            original(state).filter((scheme) => scheme.keySeq().some((name) => schemes.has(name))),
        },
      },
    },
  };
}

function show(spec) {
  SwaggerUIBundle({
    spec: {
      ...spec,
      // Requests go where the page came from: its security policy allows nothing else.
      servers: [{ url: new URL('.', location.href).href.replace(/\/$/, '') }],
      paths: Object.fromEntries(Object.entries(spec.paths).map(([path, item]) => [path, lowered(item)])),
    },
    dom_id: '#swagger-ui',
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    persistAuthorization: false,
    validatorUrl: null,
    plugins: [onlyOurs(spec)],
  });
}

fetch('openapi.json')
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.statusText)))
  .then(show)
  .catch((reason) => {
    document.getElementById('swagger-ui').textContent = `The spec cannot be shown (${reason}), please reload the page.`;
  });
