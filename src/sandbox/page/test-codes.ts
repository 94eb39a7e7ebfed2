import { type Html, html } from '../../site/html';
import { code } from '../../site/layout';
import { testCodes } from '../test-codes';
import { pairCommand } from './commands';

/** The test codes, each with a command that sends it. */
export function testCodeList(server: string, token: string): Html {
  const entries = testCodes().map(
    ([from, to, what], index) => html`<details class="entry"${index === 0 ? html` open` : html``}>
<summary><code>${from}</code>${to === undefined ? html`` : html` … <code>${to}</code>`} <span>${what}</span></summary>
${code(pairCommand(server, token, from))}
</details>
`,
  );
  return html`<div class="entry-list">
${entries}</div>`;
}
