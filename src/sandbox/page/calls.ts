import type { StoredCall } from '../../calls/calls';
import { type Html, html } from '../../site/html';
import { errorList, livePart, outcome, table, time } from './parts';
import type { View } from './read';

/** The latest calls to the CPO with the validation errors of its answers, and the unpair calls that wait. */
export function callSection({ calls, waiting }: View): Html {
  const lines = calls.map((call) => [
    html`${call.operation} <code>${call.payloadProtocol}</code>`,
    html`${outcome(wordsFor(call), call.outcome === 'answered')}${errorList(call.errors ?? [])}`,
    html`${call.durationMs} ms`,
    time(call.calledAt),
    html`<code>${call.requestId}</code>`,
  ]);
  const latest =
    lines.length === 0
      ? html`<p class="empty">This server has not called you.</p>`
      : table('Calls', ['Call', 'Outcome', 'Took', 'At (UTC)', 'X-Request-ID'], lines);
  return html`<section aria-labelledby="calls">
<h2 id="calls">Calls to you</h2>
<p>The latest calls of the last 7 days, with everything that is wrong with your answers. <code>GET /v1/scsp/calls</code> lists all of
them.</p>
${livePart('calls', html`${latest}\n${waitingTable(waiting)}`)}
</section>`;
}

const wordsFor = ({ status, outcome: word }: StoredCall) => (status === null ? word : `${status} ${word}`);

function waitingTable(waiting: View['waiting']): Html {
  if (waiting.length === 0) return html``;
  const lines = waiting.map(({ uid, attempts, createdAt, nextAttemptAt }) => [
    html`<bdi>${uid ?? 'no uid'}</bdi>`,
    html`${attempts}`,
    time(createdAt),
    time(nextAttemptAt),
  ]);
  return html`<h3>Unpair calls that wait for you</h3>
${table('Unpair calls that wait', ['uid', 'Attempts', 'Since (UTC)', 'Next (UTC)'], lines)}`;
}
