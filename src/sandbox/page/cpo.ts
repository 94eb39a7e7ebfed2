import { type Html, html } from '../../site/html';
import { form, livePart, table, time } from './parts';
import type { View } from './read';

/** The CPO of the session. */
export function cpoSection({ session, formToken }: View): Html {
  const { cpo, caller } = session;
  return html`<section aria-labelledby="cpo">
<h2 id="cpo">Your CPO</h2>
<dl class="facts">
<div><dt>Name</dt><dd><bdi>${cpo.name}</bdi></dd></div>
<div><dt>Id</dt><dd><code>${cpo.id}</code></dd></div>
<div><dt>Token</dt><dd>Valid until ${time(caller.expiresAt)} UTC</dd></div>
</dl>
<div class="row">
${form('token', formToken, html`<button class="button plain">Show my token</button>`)}
${form('sign-out', formToken, html`<button class="button plain">Sign out</button>`)}
</div>
<p class="quiet">${cpo.sandbox ? 'A CPO that is not used for 24 hours is removed, with everything that belongs to it. ' : ''}Keep the token: without it you
cannot sign in again.</p>
</section>`;
}

/** The paired stations, each with a button that unpairs it. */
export function stationSection({ stations, formToken }: View): Html {
  const lines = stations.map(({ uid, payloadProtocol, pairedAt }) => [
    html`<bdi>${uid}</bdi>`,
    html`<code>${payloadProtocol}</code>`,
    time(pairedAt),
    form(
      'unpairs',
      formToken,
      html`<input type="hidden" name="uid" value="${uid}"><button class="small-button">Unpair<span class="said"> ${uid}</span></button>`,
    ),
  ]);
  const content =
    lines.length === 0
      ? html`<p class="empty">No station is paired. Send a <a href="#codes">test code</a>.</p>`
      : table('Paired stations', ['uid', 'Protocol', 'Paired (UTC)', 'Unpair'], lines);
  return html`<section aria-labelledby="stations">
<h2 id="stations">Paired now</h2>
<p>The button unpairs as your backend would. A test code that the station has used is good again.</p>
${livePart('stations', content)}
</section>`;
}
