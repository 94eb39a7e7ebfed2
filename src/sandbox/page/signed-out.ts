import { type Html, html } from '../../site/html';
import { layout } from '../../site/layout';
import { field, HEAD, SITE } from './parts';

/** The page on which to create a CPO or sign in. */
export function signedOutPage(notice: Html | undefined): string {
  const name = html`<input id="name" name="name" required maxlength="128" value="My CPO" autocomplete="organization">`;
  const token = html`<input id="token" name="token" type="password" required maxlength="256" autocomplete="current-password" aria-describedby="token-hint">`;
  return layout(SITE, {
    title: 'Sandbox',
    path: '/sandbox',
    head: HEAD('./'),
    body: html`<main class="sandbox-page" id="content">
<h1>Sandbox</h1>
<p class="lead">Test the backend of a CPO alone: no account, no app, no operator. Pair with test codes, see what you sent and what was
wrong with it, and let this server call you.</p>
${notice === undefined ? html`` : html`<p class="notice" role="status">${notice}</p>\n`}
<div class="columns">
<section class="card" aria-labelledby="create">
<h2 id="create">Create a CPO</h2>
<p>You get a token that is valid for 30 days. A CPO that is not used for 24 hours is removed.</p>
<form class="form" method="post" action="sandbox/cpos">
${field('name', 'Name', name)}
<button class="button">Create a CPO</button>
</form>
</section>
<section class="card" aria-labelledby="sign-in">
<h2 id="sign-in">Use the one you have</h2>
<p>Paste its token. This page keeps it in a cookie until you sign out.</p>
<form class="form" method="post" action="sandbox/session">
${field('token', 'Token', token, html`It begins with <code>scsp_cpo_</code>.`)}
<button class="button plain">Sign in</button>
</form>
</section>
</div>
<p>Everything here is in the API as well: see the <a href="guides/sandbox">sandbox guide</a>.</p>
</main>`,
  });
}
