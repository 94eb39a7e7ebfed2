import type { Config } from '../config';
import { egress } from './facts';
import { html } from './html';
import { layout } from './layout';
import { picture } from './picture';
import { quickStart } from './quick-start';
import { figure } from './sequence';
import { sequences } from './sequences';

/** Readers, what they want, and where they begin. */
const READERS = [
  [
    'guides/cpo',
    'You run charging stations',
    'CPO',
    'Send the code that a customer typed, and serve codes of your own.',
  ],
  ['guides/app', 'You build the app', 'App', 'Issue codes, follow them, and be told of every pairing.'],
  [
    'guides/ingest',
    'You receive charger data',
    'Ingest',
    'Ask whose station it was, at any instant, one or many at once.',
  ],
  ['guides/operations', 'You run this service', 'Operator', 'Deploy it, configure it, keep it running.'],
] as const;

/**
 * The page where every reader lands.
 * @param server the address of this server, for the commands
 */
export function homePage(config: Config, server: string): string {
  const readers = READERS.map(
    ([
      href,
      title,
      role,
      text,
    ]) => html`<li><p class="role">${role}</p><h3><a href="${href}">${title}</a></h3><p class="text">${text}</p></li>
`,
  );
  return layout(config, {
    title: 'SCSP pairing',
    path: '/',
    head: html`<link rel="stylesheet" href="docs/home.css">`,
    body: html`<main class="home-page" id="content">
<section class="hero">
<div>
<h1>Whose charging station is it?</h1>
<p class="lead">A Smart Charging Service Provider (SCSP; here Jedlix) may steer a station only when it knows its customer.
The customer types a short code, and this service links the two.</p>
<p class="actions">${config.sandbox ? html`<a class="button" href="sandbox">Create a CPO</a>\n<a class="button plain" href="#quick-start">Quick start</a>` : html`<a class="button" href="#quick-start">Quick start</a>`}
<a class="button plain" href="docs">Reference</a></p>
</div>
${picture}
</section>
<section aria-labelledby="readers">
<h2 id="readers">Where do you begin?</h2>
<ul class="cards">
${readers}</ul>
</section>
<section aria-labelledby="quick-start">
<h2 id="quick-start">Quick start</h2>
${quickStart(config, server)}
</section>
<section aria-labelledby="sequences">
<h2 id="sequences">Step by step</h2>
${sequences.map(figure)}
</section>
<section aria-labelledby="calls">
<h2 id="calls">Calls from this server</h2>
<p>This server calls CPOs and webhook endpoints from: ${egress(config)}.</p>
<p>Its time-outs are in the guides for <a href="guides/cpo#addresses-and-time-outs-of-this-server">CPOs</a> and
for <a href="guides/app#addresses-and-time-outs-of-this-server">the app</a>.</p>
</section>
<section aria-labelledby="security">
<h2 id="security">Security</h2>
<p>If you have found a vulnerability, please tell us before anybody else: ${config.securityContact.replace(/^mailto:/, '')} (see <a href=".well-known/security.txt">security.txt</a>).
Say what you called and when, the <code>request_id</code>, and how to reproduce it.
Use tokens and stations of your own, and do not send us tokens, codes or customer data.</p>
</section>
</main>`,
  });
}
