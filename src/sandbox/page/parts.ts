import { type Html, html } from '../../site/html';

/** Every page of the sandbox is one of a sandbox deployment. */
export const SITE = { sandbox: true };
export const HEAD = (root: string): Html => html`<link rel="stylesheet" href="${root}docs/sandbox.css">`;

/** A table that becomes a list of cards on a phone, where each cell has the name of its column before it. */
export function table(label: string, columns: readonly string[], lines: readonly (readonly Html[])[]): Html {
  const head = columns.map((name) => html`<th role="columnheader" scope="col">${name}</th>`);
  const body = lines.map(
    (cells) => html`<tr role="row">${cells.map((cell, index) => labelled(columns[index] ?? '', cell))}</tr>\n`,
  );
  return html`<table role="table" aria-label="${label}">
<thead role="rowgroup"><tr role="row">${head}</tr></thead>
<tbody role="rowgroup">
${body}</tbody>
</table>`;
}

function labelled(column: string, cell: Html): Html {
  return html`<td role="cell" data-label="${column}">${cell}</td>`;
}

/** An instant, in UTC, to the second. */
export function time(instant: Date | string): Html {
  const iso = new Date(instant).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 19)}</time>`;
}

/** A text in which what stands between backticks is code. */
export function withCode(text: string): Html {
  return html`${text.split('`').map((part, index) => (index % 2 === 0 ? html`${part}` : html`<code>${part}</code>`))}`;
}

/** A word that says how something went, in colour as well. */
export function outcome(word: string, isGood: boolean): Html {
  return html`<span class="status ${isGood ? 'good' : 'bad'}">${word}</span>`;
}

/** Validation errors, each with its place. */
export function errorList(errors: readonly { readonly pointer: string; readonly message: string }[]): Html {
  if (errors.length === 0) return html``;
  const items = errors.map(({ pointer, message }) => html`<li><code>${pointer || '/'}</code> ${message}</li>\n`);
  return html`<ul class="errors">\n${items}</ul>`;
}

/**
 * A part of the page that a script replaces every few seconds by what it has become. Without the script there is a link that loads
 * the page again.
 */
export function livePart(id: string, content: Html): Html {
  // Another address each time, because browsers do not load a page again for a fragment alone.
  return html`<p class="refresh"><a href="sandbox?at=${Date.now()}#${id}" data-refresh>Refresh</a></p>
<div id="${id}-part" data-live>
${content}
</div>`;
}

/** A form of a session. */
export function form(action: string, token: string, content: Html): Html {
  return html`<form class="form" method="post" action="sandbox/${action}">
<input type="hidden" name="form_token" value="${token}">
${content}
</form>`;
}

/** A field with its label, and a hint below it. */
export function field(id: string, label: string, input: Html, hint: Html = html``): Html {
  return html`<div class="field"><label for="${id}">${label}</label>
${input}
${hint.html === '' ? html`` : html`<p class="hint" id="${id}-hint">${hint}</p>`}</div>`;
}
