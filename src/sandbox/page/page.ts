import type { Schemas } from '../../contract/document';
import { type Html, html } from '../../site/html';
import { code, layout } from '../../site/layout';
import { attemptSection } from './attempts';
import { callSection } from './calls';
import { certificationSection } from './certification';
import { TOKEN_VARIABLE } from './commands';
import { cpoSection, stationSection } from './cpo';
import { endpointSection } from './endpoint';
import { form, HEAD, SITE } from './parts';
import type { View } from './read';
import { testCodeList } from './test-codes';

const CONTENTS = [
  ['cpo', 'Your CPO'],
  ['stations', 'Paired now'],
  ['codes', 'Test codes'],
  ['attempts', 'What you sent'],
  ['endpoint', 'Your endpoint'],
  ['calls', 'Calls to you'],
  ['certification', 'Certification'],
] as const;

/** The page of a CPO whose developer is signed in. */
export function cpoPage(view: View, notice: Html | undefined): string {
  const { cpo } = view.session;
  const links = CONTENTS.map(([id, text]) => html`<li><a href="#${id}">${text}</a></li>\n`);
  return layout(SITE, {
    title: 'Your sandbox',
    path: '/sandbox',
    head: html`${HEAD('./')}<script src="docs/sandbox.js" defer></script>`,
    body: html`<main class="sandbox-page" id="content">
<h1><bdi>${cpo.name}</bdi></h1>
${notice === undefined ? html`` : html`<p class="notice" role="status">${notice}</p>\n`}
<nav aria-label="On this page"><ul class="tags links">
${links}</ul></nav>
${cpoSection(view)}
${stationSection(view)}
${codeSection(view)}
${attemptSection(view)}
${endpointSection(view)}
${callSection(view)}
${certificationSection(view)}
</main>`,
  });
}

function codeSection({ server, formToken }: View): Html {
  return html`<section aria-labelledby="codes">
<h2 id="codes">Test codes</h2>
<p>A test customer of your own has these codes. The commands read your token from <code>TOKEN</code>: paste this line, press Enter,
then paste the token and press Enter again.</p>
${code('read -rs TOKEN')}
${form('token', formToken, html`<button class="button plain">Show the commands with my token</button>`)}
${testCodeList(server, TOKEN_VARIABLE)}
<p>Any other code is incorrect, as it would be in production. The <a href="guides/sandbox#test-codes">guide</a> says more.</p>
</section>`;
}

/** Says what a form has just done. */
export function noticeFor(done: Schemas['SandboxDone'], outcome: string | undefined): Html {
  switch (done) {
    case 'signed-in':
      return html`You are signed in.`;
    case 'signed-out':
      return html`You are signed out. The token stays valid.`;
    case 'unpaired':
      return html`The station is unpaired.`;
    case 'endpoint-set':
      return html`The endpoint is set. Let this server redeem a code of yours now.`;
    case 'redeemed':
      return outcome === 'paired'
        ? html`The code was redeemed and the station is paired.`
        : html`The code was not redeemed: <code>${outcome ?? 'unknown'}</code>. See <a href="#calls">the call</a> for what was wrong.`;
    case 'test-unpaired':
      return html`The station is unpaired. Your backend is notified now, or as soon as it answers.`;
    case 'run-started':
      return html`The checks are running, for two minutes at most. The verdicts appear <a href="#certification">below</a> when they have ended.`;
  }
}
