import type { Contract } from '../contract/document';
import { DEADLINE_MS } from '../webhooks/client';
import { PAUSES } from '../webhooks/pauses';
import { inWords } from './facts';
import { html } from './html';
import { code, layout, type Site } from './layout';
import { renderMarkdown } from './markdown';

/** A webhook of openapi.yaml, as far as the page shows it. */
type Webhook = {
  readonly post: {
    readonly summary: string;
    readonly description: string;
    readonly requestBody: { readonly content: { readonly 'application/json': { readonly example: { type: string } } } };
  };
};

/** The page that lists the events, with the examples of openapi.yaml. */
export function webhooksPage(site: Site, { document }: Contract): string {
  const webhooks: Webhook[] = Object.values(document.webhooks ?? {});
  const events = webhooks.map(({ post: { description, requestBody } }) => {
    const { example } = requestBody.content['application/json'];
    return html`<section>
<h3 id="${example.type}"><code>${example.type}</code></h3>
${renderMarkdown(description, (href) => href).content}<details><summary>Example of ${example.type}</summary>
${code(JSON.stringify(example, null, 2))}
</details>
</section>
`;
  });
  const list = webhooks.map(({ post: { summary, requestBody } }) => {
    const { type } = requestBody.content['application/json'].example;
    return html`<li><a href="#${type}"><code>${type}</code></a> <span class="quiet">${summary}</span></li>\n`;
  });
  return layout(site, {
    title: 'Webhooks',
    path: '/webhooks',
    body: html`<main class="page" id="content">
<h1>Webhooks</h1>
<p class="lead">This server sends each event to the app's HTTPS address in a signed request. The feed,
<code>GET /v1/events</code>, has the same events in order.</p>
<h2 id="receive">Receive them</h2>
<ol>
<li>Create an endpoint: <code>POST /v1/app/webhook-endpoints</code>. The response has its secret.</li>
<li>Verify the signature over the raw body, with a library of <a href="https://www.standardwebhooks.com/">Standard Webhooks</a>.</li>
<li>Store the event unless you have its <code>id</code> already, and answer with a 2xx within ${inWords(DEADLINE_MS / 1_000)}.</li>
</ol>
<p>A failed delivery is repeated after ${PAUSES.map(inWords).join(', ')}. The <a href="guides/app#receive-events">guide for the
app</a> has a receiver to begin with.</p>
<h2 id="events">Events</h2>
<ul class="entries">
${list}</ul>
<p>Ignore types and members that you do not know: there will be more.</p>
<h2 id="details">In detail</h2>
${events}
</main>`,
  });
}
