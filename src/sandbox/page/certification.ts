import type { Verdict } from '../../conformance/check';
import { type Html, html } from '../../site/html';
import { code } from '../../site/layout';
import type { CertificationItem } from '../certification/list';
import { field, form, livePart, outcome, time, withCode } from './parts';
import type { LatestRun, View } from './read';

const DIRECTIONS = [
  ['cpo', 'Your endpoint', 'Checked by a run, below.'],
  [
    'client',
    'Your requests',
    'Judged by what your backend sends; nothing needs to be started. Of requests for the same, such as a code and a uid, the latest counts.',
  ],
] as const;
const WORDS: Readonly<Record<Verdict, string>> = {
  passed: 'passed',
  failed: 'failed',
  warning: 'warning',
  not_run: 'not run',
};
const CODES = '{"good": ["…", "…"], "same_station": ["…", "…"], "used": "…", "expired": "…"}';

/** The checks of both directions with their evidence, and the form that starts a run. */
export function certificationSection({ certification: items, run, formToken, baseUrl }: View): Html {
  const lists = DIRECTIONS.map(([direction, title, text]) => {
    const own = items.filter((item) => item.direction === direction);
    return html`<h3>${title}</h3>\n<p>${text} ${summaryOf(own)}</p>\n<div class="entry-list">\n${own.map(entry)}</div>\n`;
  });
  return html`<section aria-labelledby="certification">
<h2 id="certification">Certification</h2>
${livePart('certification', html`${runText(run)}${lists}`)}
<h3>Run the checks</h3>
${baseUrl === undefined ? html`<p class="empty">Set <a href="#endpoint">the endpoint</a> first.</p>` : runForm(formToken)}
</section>`;
}

const RUNS: Readonly<Record<LatestRun['status'], string>> = {
  running: 'is in progress',
  finished: 'has ended',
  interrupted: 'was interrupted; start another one',
};

function runText(run: LatestRun | undefined): Html {
  if (run === undefined) return html``;
  const { status, startedAt, done, total } = run;
  return html`<p class="notice">The run of ${time(startedAt)} UTC ${RUNS[status]}: ${done} of ${total} checks.</p>\n`;
}

function runForm(formToken: string): Html {
  const codes = html`<textarea id="codes" name="codes" rows="4" maxlength="2000" spellcheck="false" aria-describedby="codes-hint"></textarea>`;
  const hint = html`Optional JSON: <code>${CODES}</code>. Each member can be left out; the codes may be used up.`;
  return form(
    'certification-runs',
    formToken,
    html`${field('codes', 'Codes that your backend issued', codes, hint)}
<button class="button">Run the checks</button>`,
  );
}

function summaryOf(items: readonly CertificationItem[]): string {
  const counts = Object.entries(WORDS).map(([verdict, word]): [number, string] => [
    items.filter((item) => item.verdict === verdict).length,
    word,
  ]);
  const found = counts.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  return found.length === 0 ? '' : `${found.join(', ')}.`;
}

function verdictOf({ verdict }: CertificationItem): Html {
  if (verdict === 'not_run' || verdict === 'warning') return html`<span class="status">${WORDS[verdict]}</span>`;
  return outcome(WORDS[verdict], verdict === 'passed');
}

function entry(item: CertificationItem): Html {
  const { direction, id, title, level, clause, operation, evidence = {}, remedy, needs, last_seen_at: seen } = item;
  return html`<details class="entry" id="check-${direction}-${id}">
<summary>${verdictOf(item)} <span>${withCode(title)}</span>${level === 'recommended' ? html` <span class="quiet">recommended</span>` : html``}</summary>
<p>${withCode(clause)}</p>
<p class="quiet"><code>${id}</code>${operation === undefined ? html`` : html` · <code>${operation}</code>`}${seen === undefined ? html`` : html` · last seen ${time(seen)} UTC`}</p>
${needs === undefined ? html`` : html`<p>Needs: ${withCode(needs)}</p>`}
${remedy === undefined ? html`` : html`<p>What to do: ${withCode(remedy)}</p>`}
${evidence.request === undefined ? html`` : code(evidence.request)}
${evidence.response === undefined ? html`` : code(evidence.response)}
${evidence.request_id === undefined ? html`` : html`<p class="quiet">Your request <code>${evidence.request_id}</code>${evidence.at === undefined ? html`` : html`, ${time(evidence.at)} UTC`}</p>`}
${evidence.note === undefined ? html`` : html`<p>${evidence.note}</p>`}
</details>
`;
}
