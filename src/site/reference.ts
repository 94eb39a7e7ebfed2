import type { Config } from '../config';
import { type OpenApiDocument, operationsOf } from '../contract/document';
import { egress } from './facts';
import { type Html, html } from './html';
import { layout } from './layout';
import { renderMarkdown } from './markdown';

/** The page of Swagger UI. Without scripts it lists the operations. */
export function referencePage(config: Config, document: OpenApiDocument): string {
  const introduction = renderMarkdown(document.info.description, (href) => href).content;
  return layout(config, {
    title: 'Reference',
    path: '/docs',
    head: html`<link rel="stylesheet" href="docs/reference.css">`,
    body: html`<main class="reference" id="content">
<div class="reference-head">
<h1>Reference</h1>
<p>Every operation of this server, and those that a CPO implements. To try one out, enter your token under <em>Authorize</em>; it
is kept until you leave the page.</p>
<details><summary>About this contract</summary>
${introduction}<p>This server calls CPOs and webhook endpoints from: ${egress(config)}.</p>
</details>
</div>
<div id="swagger-ui">
<noscript>
<p>Trying operations out needs JavaScript. <a href="openapi.yaml">openapi.yaml</a> has all members and limits.</p>
${operationList(document)}
</noscript>
</div>
</main>
<script src="docs/swagger-ui-bundle.js"></script>
<script type="module" src="docs/reference.js"></script>`,
  });
}

function operationList(document: OpenApiDocument): Html[] {
  const operations = operationsOf(document);
  return (document.tags ?? []).map(({ name }) => {
    const entries = operations
      .filter(({ operation }) => Object(operation.tags)[0] === name)
      .map(
        ({
          method,
          path,
          operation,
        }) => html`<li><code>${method.toUpperCase()} ${path}</code> <span class="quiet">${String(operation.summary)}</span></li>
`,
      );
    return entries.length === 0 ? html`` : html`<h2>${name}</h2>\n<ul class="entries">\n${entries}</ul>\n`;
  });
}
