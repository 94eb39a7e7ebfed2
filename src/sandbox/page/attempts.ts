import { type Attempt, statusOf } from '../../attempts/attempts';
import { type Html, html } from '../../site/html';
import { livePart, outcome, table, time } from './parts';
import type { View } from './read';

/** The latest pair requests of the CPO, with every validation error. */
export function attemptSection({ attempts }: View): Html {
  const lines = attempts.map((attempt) => [
    html`<bdi>${attempt.uid ?? 'no uid'}</bdi>`,
    html`${outcome(`${statusOf(attempt)} ${attempt.outcome}`, attempt.outcome === 'paired')}${detailOf(attempt)}`,
    html`<code>${attempt.payloadProtocol}</code>`,
    time(attempt.attemptedAt),
    html`<code>${attempt.requestId}</code>`,
  ]);
  const content =
    lines.length === 0
      ? html`<p class="empty">Nothing yet. Send a test code: it appears here.</p>`
      : table('Attempts', ['uid', 'Outcome', 'Protocol', 'At (UTC)', 'Request id'], lines);
  return html`<section aria-labelledby="attempts">
<h2 id="attempts">What you sent</h2>
<p>The latest pair requests of your backend. <code>GET /v1/scsp/attempts</code> lists all of them.</p>
${livePart('attempts', content)}
</section>`;
}

/** Validation errors are stored as one text. */
function detailOf({ outcome: word, detail }: Attempt): Html {
  if (detail === null) return html``;
  if (word !== 'invalid-request') return html`<p class="detail">${detail}</p>`;
  return html`<ul class="errors">\n${detail.split('; ').map((error) => html`<li>${error}</li>\n`)}</ul>`;
}
