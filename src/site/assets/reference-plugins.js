/* What /docs changes in Swagger UI. */
const METHODS = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options', 'trace'];

/** Swagger UI 5.35 does not follow a reference among the parameters of a path: its operations get them. */
export function lowered({ parameters = [], ...item }) {
  const lower = ([key, operation]) =>
    METHODS.includes(key)
      ? [key, { ...operation, parameters: [...parameters, ...(operation.parameters ?? [])] }]
      : [key, operation];
  return Object.fromEntries(Object.entries(item).map(lower));
}

/** What a CPO serves is there to be read: the page can send nothing to a CPO, and asks for no token of its. */
export function onlyOurs({ paths }) {
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

/** Draws the operations alone: the page has a heading, an introduction and one server already. */
function layoutOf({ React, getComponent }) {
  const draw = (name, isContainer) => React.createElement(getComponent(name, isContainer), { key: name });
  return function ReferenceLayout() {
    return React.createElement('div', { className: 'swagger-ui' }, [
      draw('SvgAssets'),
      draw('errors', true),
      draw('AuthorizeBtnContainer', true),
      React.createElement('h2', { key: 'heading', className: 'operations-heading' }, 'Operations'),
      draw('operations', true),
      draw('Webhooks', true),
    ]);
  };
}

/** A link inside a button can be reached by nobody's keyboard: the path of an operation is text, and the button opens it. */
function textOf({ React }) {
  return function PathText({ text }) {
    return React.createElement('span', null, text);
  };
}

export const accessible = (system) => ({
  components: { ReferenceLayout: layoutOf(system) },
  wrapComponents: { DeepLink: (_original, inner) => textOf(inner) },
});

/** What Swagger UI leaves without a name, or names otherwise than it shows. */
const NAMES = [
  ['.parameters-col_description :is(select, input, textarea)', (field) => field.closest('tr').dataset.paramName],
  ['.body-param textarea', () => 'Request body'],
  ['.examples-select-element', () => 'Example'],
  ['.close-modal', () => 'Close'],
  ['.auth-btn-wrapper button', (button) => button.textContent],
];

/** The headings of the dialog, which follows the heading of the page. */
const LEVELS = Object.entries({ h3: '2', h4: '3', h6: '4' });

/** Names fields and buttons, and lets the keyboard scroll what is wide, whenever Swagger UI has drawn something. */
export function mend(root) {
  const mendAll = () => {
    for (const [selector, nameOf] of NAMES)
      for (const element of root.querySelectorAll(selector)) element.setAttribute('aria-label', nameOf(element));
    for (const block of root.querySelectorAll('pre:not([tabindex])')) block.tabIndex = 0;
    for (const [heading, level] of LEVELS)
      for (const element of root.querySelectorAll(`.modal-ux ${heading}`)) element.setAttribute('aria-level', level);
  };
  new MutationObserver(mendAll).observe(root, { childList: true, characterData: true, subtree: true });
  mendAll();
}
