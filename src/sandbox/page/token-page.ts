import { type Html, html } from '../../site/html';
import { code, layout } from '../../site/layout';
import { pairCommand, unpairCommand } from './commands';
import { HEAD, SITE, time } from './parts';
import { testCodeList } from './test-codes';

type Shown = { readonly name: string; readonly token: string; readonly expiresAt: Date };

/**
 * The page that shows a token, with commands that contain it. It is the answer to a form only, and has no address of its own.
 * @param path that of the form
 */
export function tokenPage({ name, token, expiresAt }: Shown, path: string, server: string, isNew: boolean): string {
  return layout(SITE, {
    title: 'Your token',
    path,
    head: HEAD('../'),
    body: html`<main class="sandbox-page" id="content">
<h1>${isNew ? html`<bdi>${name}</bdi> is created` : html`The token of <bdi>${name}</bdi>`}</h1>
<p class="lead">Copy the token now${isNew ? ', and store it with your other secrets' : ''}. It is valid until ${time(expiresAt)} UTC.</p>
${code(token)}
<p class="row"><a class="button" href="../sandbox">Go on to your sandbox</a></p>
${firstSteps(server, token)}
<section aria-labelledby="codes">
<h2 id="codes">All test codes</h2>
${testCodeList(server, token)}
</section>
</main>`,
  });
}

function firstSteps(server: string, token: string): Html {
  return html`<section aria-labelledby="quick-start">
<h2 id="quick-start">Quick start</h2>
<p>These commands contain your token. Paste them into a terminal; they use <code>curl</code> only.</p>
<h3>Pair a station</h3>
${code(pairCommand(server, token, '100000'))}
<h3>Send a code that is incorrect</h3>
${code(pairCommand(server, token, '000404'))}
<h3>Unpair the station</h3>
${code(unpairCommand(server, token, 'first-station'))}
<p><a href="../sandbox#attempts">See what arrived</a>.</p>
</section>`;
}
