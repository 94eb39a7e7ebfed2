import { protocols } from '../../protocols';
import { type Html, html } from '../../site/html';
import { code } from '../../site/layout';
import { field, form } from './parts';
import type { View } from './read';

/** Where the CPO is called, and what makes this server call it. */
export function endpointSection(view: View): Html {
  const { session, baseUrl } = view;
  return html`<section aria-labelledby="endpoint">
<h2 id="endpoint">Your endpoint</h2>
<p>${baseUrl === undefined ? 'This server does not know your backend yet.' : html`This server calls <code>${baseUrl}</code>.`}
Before it calls a public address, <code>GET {base URL}/.well-known/scsp-pairing</code> there must answer 200 with the id of your
CPO as plain text:</p>
${code(session.cpo.id)}
${endpointForm(view)}
<h3 id="test">Let this server call you</h3>
${baseUrl === undefined ? html`<p class="empty">Set the endpoint first.</p>` : html`<div class="columns">\n${redemptionForm(view)}\n${unpairForm(view)}\n</div>`}
</section>`;
}

function endpointForm({ formToken, baseUrl, callsLoopback }: View): Html {
  const url = html`<input id="base-url" name="base_url" type="url" required maxlength="2048" value="${baseUrl ?? ''}" placeholder="https://cpo.example/scsp" autocomplete="off" spellcheck="false" aria-describedby="base-url-hint">`;
  const token = html`<input id="endpoint-token" name="token" type="password" required maxlength="3000" autocomplete="off" aria-describedby="endpoint-token-hint">`;
  return form(
    'endpoint',
    formToken,
    html`${field('base-url', 'Base URL', url, html`What comes before <code>/v1/cpo/…</code>, without query: ${callsLoopback ? html`https, or http on this machine, such as <code>http://localhost:8080</code>` : 'https at a public address; a tunnel to your machine has one'}.`)}
${field('endpoint-token', 'Bearer token that your backend expects', token, html`It is stored encrypted and never shown.`)}
<button class="button">${baseUrl === undefined ? 'Set the endpoint' : 'Change the endpoint'}</button>`,
  );
}

function redemptionForm({ formToken }: View): Html {
  const options = Object.keys(protocols).map(
    (name) => html`<option${name === 'ocpp2.0.1' ? html` selected` : html``}>${name}</option>\n`,
  );
  return form(
    'test-redemptions',
    formToken,
    html`${field('code', 'A code that your backend issued', html`<input id="code" name="code" required maxlength="64" autocomplete="off" spellcheck="false">`)}
${field('protocol', 'Protocol', html`<select id="protocol" name="payload_protocol">\n${options}</select>`)}
<button class="button">Redeem the code</button>`,
  );
}

function unpairForm({ formToken }: View): Html {
  const uid = html`<input id="uid" name="uid" required maxlength="48" autocomplete="off" spellcheck="false" aria-describedby="uid-hint">`;
  return form(
    'test-unpairs',
    formToken,
    html`${field('uid', 'uid of a paired station', uid, html`It is unpaired as if by the customer, and your backend is notified.`)}
<button class="button">Unpair for the customer</button>`,
  );
}
