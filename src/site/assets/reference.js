/* Makes /docs of /openapi.json, in the browser. */
import { accessible, lowered, mend, onlyOurs } from './reference-plugins.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const paint = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', paint);
paint();

const root = document.getElementById('swagger-ui');

function show(spec) {
  mend(root);
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
    layout: 'ReferenceLayout',
    syntaxHighlight: false,
    persistAuthorization: false,
    validatorUrl: null,
    plugins: [onlyOurs(spec), accessible],
  });
}

fetch('openapi.json')
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.statusText)))
  .then(show)
  .catch((reason) => {
    root.textContent = `The spec cannot be shown (${reason}), please reload the page.`;
  });
