import { createHash } from 'node:crypto';
import type { Config } from '../config';
import type { Contract } from '../contract/document';
import { protocols } from '../protocols';
import { html } from './html';
import { layout } from './layout';

/** The page that says what runs here. */
export function versionsPage(config: Config, { text, document }: Contract): string {
  const names = Object.keys(protocols).map((name) => html`<li><code>${name}</code></li>\n`);
  return layout(config, {
    title: 'Versions',
    path: '/versions',
    body: html`<main class="page" id="content">
<h1>Versions</h1>
<dl class="facts">
<div><dt>Service and contract</dt><dd>${document.info.version}</dd></div>
<div><dt>Deployment</dt><dd>${config.sandbox ? 'sandbox' : 'production'}</dd></div>
<div><dt>Version in the path</dt><dd><code>/v1</code></dd></div>
<div><dt>SHA-256 of <a href="openapi.yaml">openapi.yaml</a></dt><dd><code>${createHash('sha256').update(text).digest('hex')}</code></dd></div>
</dl>
<h2 id="protocols">Payload protocols</h2>
<ul class="tags">
${names}</ul>
<h2 id="changes">What can change</h2>
<p>Responses, events and webhooks get new members, events get new types, and errors get new types. Ignore what you do not know,
and act on <code>status</code> where you do not know a <code>type</code>.</p>
<p>The <a href="changelog">changelog</a> names each change and what to do about it.</p>
</main>`,
  });
}
