import { html } from './html';
import { layout, type Site } from './layout';

/** The page that explains the probes. */
export function statusPage(site: Site): string {
  return layout(site, {
    title: 'Status',
    path: '/status',
    body: html`<main class="page" id="content">
<h1>Status</h1>
<p class="lead"><a class="button" href="ready">Ask /ready now</a></p>
<dl class="facts">
<div><dt><code>/ready</code> answers 200</dt><dd>This server accepts requests and its database answers.</dd></div>
<div><dt><code>/ready</code> answers 503</dt><dd>It is starting, stopping, or waiting for its database. It recovers by itself: try again after a few seconds.</dd></div>
<div><dt><a href="live"><code>/live</code></a> answers 200</dt><dd>The process runs. The database is not asked.</dd></div>
<div><dt>No answer</dt><dd>The network, the proxy or the process is down.</dd></div>
</dl>
<h2 id="your-requests">Is it only you?</h2>
<ul>
<li>A 503 on your requests: send them again after <code>Retry-After</code> seconds, with the same <code>Idempotency-Key</code>.</li>
<li>A 429: you send too many at once. Look at its <code>type</code> in the <a href="problems">problems</a>.</li>
<li>A 401 or 403: look at your token, not at this page.</li>
<li>Your pair requests: <code>GET /v1/scsp/attempts</code> lists them with their outcome.</li>
<li>Calls from this server to you: <code>GET /v1/scsp/calls</code> lists them with what was wrong.</li>
</ul>
<p>If you operate this server, go on with <a href="guides/operations#when-something-goes-wrong">when something goes wrong</a>.</p>
</main>`,
  });
}
