import { STATUS_CODES } from 'node:http';
import type { Request, Response } from 'express';
import type { problemsOf } from '../contract/deployment-problems';
import { type ProblemType, problems } from '../contract/problem-types';
import type { Problem, ValidationError } from '../problems';
import { type Html, html } from './html';
import { layout, rootOf, type Site } from './layout';
import { sendHtml } from './send';

/** The list of all problems. */
export function problemList(site: Site, list: ReturnType<typeof problemsOf>): string {
  const entries = list.map(
    ([type, [status, title, message]]) => html`
<li><span class="status">${status}</span> <a href="problems/${type}">${title}</a> <span class="quiet">${message}</span></li>`,
  );
  return layout(site, {
    title: 'Problems',
    path: '/problems',
    body: html`<main class="page" id="content">
<h1>Problems</h1>
<p class="lead">Every error names its <code>type</code>, which is one of these pages.
Act on <code>type</code> and <code>status</code>, log the <code>request_id</code>.</p>
<ul class="problems">${entries}
</ul>
</main>`,
  });
}

/** The page that the `type` of a problem resolves to. */
export function problemPage(
  site: Site,
  type: string,
  [status, title, message, remedy]: (typeof problems)[ProblemType],
): string {
  return layout(site, {
    title,
    path: `/problems/${type}`,
    body: html`<main class="page" id="content">
<p class="crumbs"><a href="../problems">All problems</a></p>
<h1>${title}</h1>
<p><span class="status">${status} ${STATUS_CODES[status] ?? ''}</span> <code>/problems/${type}</code></p>
<h2>What it means</h2>
<p>${message}</p>
<h2>What to do</h2>
<p>${remedy}</p>
<h2>Still stuck?</h2>
<p>See the errors in the <a href="../guides/cpo#errors">guide for CPOs</a> or the <a href="../guides/app#errors">guide for the app</a>,
or the <a href="../docs">reference</a>. If you ask for help, quote the <code>request_id</code>.</p>
</main>`,
  });
}

/** Sends a problem as a page, with the status that the response has. */
export function sendErrorPage(site: Site, req: Request, res: Response, problem: Problem): void {
  const { type, status, title, message, errors = [] } = problem;
  const isForm = req.path.startsWith('/sandbox/');
  const [, , , general] = problems[type];
  const remedy = isForm && errors.length > 0 ? 'Go back, correct what is listed and send the form again.' : general;
  const root = rootOf(req.path);
  const back = isForm ? html`<p><a class="button" href="${root}sandbox">Back to your sandbox</a></p>\n` : html``;
  const page = layout(site, {
    title,
    path: req.path,
    body: html`<main class="page" id="content">
<h1>${title}</h1>
<p><span class="status">${status} ${STATUS_CODES[status] ?? ''}</span> <a href="${root}problems/${type}">/problems/${type}</a></p>
<p class="lead">${message}</p>
${errors.length === 0 ? html`` : html`<ul>\n${errors.map(errorItem)}</ul>`}
<h2>What to do</h2>
<p>${remedy}</p>
${back}<p class="quiet">Request <code>${String(res.locals.requestId)}</code></p>
</main>`,
  });
  sendHtml(req, res, page);
}

/** A validation error, by the name of the field or parameter. The value is left out: it may be a token. */
function errorItem({ pointer, message }: ValidationError): Html {
  return html`<li><code>${pointer.slice(1)}</code> ${message}</li>\n`;
}
